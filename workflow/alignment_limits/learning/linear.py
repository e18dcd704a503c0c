"""Bradley-Terry rewards linear in known features, shared by all contexts: logistic regression on wins."""

from __future__ import annotations

import numpy as np

from alignment_limits.learning.newton import newton
from alignment_limits.learning.objectives import sigmoid, softplus


def pair_design(values: np.ndarray) -> np.ndarray:
    """Differences of features (X, Y, D) between the two responses of every unordered pair, (pairs, D)."""
    first, second = np.triu_indices(values.shape[1], 1)
    return (values[:, first] - values[:, second]).reshape(-1, values.shape[2])


def pair_wins(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wins (..., X, Y, Y) of the first and of the second response of the same pairs, each (..., pairs)."""
    first, second = np.triu_indices(wins.shape[-1], 1)
    flat = (*wins.shape[:-3], -1)
    return wins[..., first, second].reshape(flat), wins[..., second, first].reshape(flat)


def linear_reward_fit(wins: np.ndarray, features: np.ndarray, *, ridge: float) -> np.ndarray:
    """Rewards (B, X, Y) = features · w minimising Σ W[a, b] (−log σ(R_a − R_b)) + ridge/2 ‖w‖².

    Args:
        wins: (B, X, Y, Y), all of one world.
        features: (X, Y, D).
        ridge: in pairs; 1/ridge is the variance of a normal prior on each weight.
    """
    weights, _ = logistic_fit(pair_design(features), *pair_wins(wins), ridge=ridge)
    rewards = np.einsum("xyd,bd->bxy", features, weights)
    return np.asarray(rewards - rewards.mean(-1, keepdims=True))


def logistic_fit(
    design: np.ndarray,
    won: np.ndarray,
    lost: np.ndarray,
    *,
    ridge: float | np.ndarray = 0.0,
    offset: np.ndarray | float = 0.0,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (B, D) and log-likelihood (B,) of P(first wins) = σ(design · w + offset) for B data sets.

    Args:
        design: (pairs, D).
        won, lost: (B, pairs).
        ridge: of each weight, a number or (D,).
        offset: broadcast against (B, pairs).
        start: (B, D), 0 without it.
    """
    total = np.maximum(won.sum(-1) + lost.sum(-1), 1.0)[:, None]
    first, second = won / total, lost / total
    offsets = np.broadcast_to(offset, won.shape)
    size = design.shape[1]
    ridges = np.broadcast_to(ridge, size) / total
    squares = (design[:, :, None] * design[:, None, :]).reshape(-1, size * size)

    def oracle(w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        u = w @ design.T + offsets[i]
        value = (first[i] * softplus(-u) + second[i] * softplus(u)).sum(-1) + 0.5 * (ridges[i] * w**2).sum(-1)
        p = sigmoid(u)
        gradient = ((first[i] + second[i]) * p - first[i]) @ design + ridges[i] * w
        hessian = (((first[i] + second[i]) * p * (1 - p)) @ squares).reshape(-1, size, size)
        hessian[:, np.arange(size), np.arange(size)] += ridges[i]
        return value, gradient, hessian

    weights, _ = newton(oracle, np.zeros((len(won), size)) if start is None else start)
    u = weights @ design.T + offsets
    return weights, -(won * softplus(-u) + lost * softplus(u)).sum(-1)

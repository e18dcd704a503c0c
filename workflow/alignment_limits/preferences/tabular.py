"""Exact learners of a tabular class: a logit for every response of every context, all contexts at once.

Data are a table of wins, W[..., a, b]: how often (or with what weight) a was preferred to b. That is all that any
objective here takes from pairs, so a fit costs the same for 2⁵ pairs as for 2²⁰, and seeds, data sizes and
contexts are one batch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from alignment_limits.preferences.fits import newton

FAR = 25.0  # nats from the base from which a policy counts as having run away


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (last axis) of logits."""
    top = logits - logits.max(-1, keepdims=True)
    return top - np.log(np.exp(top).sum(-1, keepdims=True))


def margins(values: np.ndarray) -> np.ndarray:
    """All differences v[a] − v[b], (..., Y) → (..., Y, Y)."""
    return values[..., :, None] - values[..., None, :]


def reward_fit(wins: np.ndarray, *, ridge: float = 0.0) -> np.ndarray:
    """Bradley-Terry rewards (..., Y), centred: argmin Σ W[a, b] (−log σ(R_a − R_b)) + ridge/2 ‖R‖².

    Args:
        ridge: in pairs; 1/ridge is the variance of a normal prior. With 0 there is a finite minimiser only where
            `has_finite_fit` says so; elsewhere the result is NaN.
    """
    total = np.maximum(wins.sum((-2, -1)), 1.0)
    weights = (wins / total[..., None, None]).reshape(-1, *wins.shape[-2:])
    ridges = np.ravel(ridge / total)
    found, ok = newton(lambda r, i: _pairs(r, weights[i], 1.0, ridges[i]), np.zeros(weights.shape[:2]), bound=FAR)
    if ridge == 0:
        ok &= has_finite_fit(weights)
    found[~ok] = np.nan
    return (found - found.mean(-1, keepdims=True)).reshape(wins.shape[:-1])


def preference_path(
    wins: np.ndarray,
    log_base: np.ndarray,
    *,
    gamma: float,
    betas: Sequence[float],
    start: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Log-policies (..., Y) minimising Σ W[a, b] (−log σ(γ log π_a/π_b)) + β KL(π‖π₀), for each β in order.

    W of real pairs gives PMLE; W = w · σ(R̂_a − R̂_b) of pairs weighted w gives preference distillation (up to a
    constant). The KL is bounded, so on separable data the loss has its infimum at infinity however large β is; and
    it is not convex. Meant by "the" minimiser is the one that is joined to π₀ as β falls from infinity: give the
    β from the largest down, each starts where the last ended. A policy that runs away is NaN from there on.

    Args:
        wins: (..., Y, Y), a mean over pairs: of the same unit as β.
        log_base: log π₀, broadcast against (..., Y).
        start: log-policies (..., Y) to begin from instead of π₀; where they are NaN, so is all that follows.
    """
    shape = wins.shape[:-1]
    weights = wins.reshape(-1, *wins.shape[-2:])
    base = np.broadcast_to(log_base, shape).reshape(len(weights), -1)
    # log π/π₀ up to a constant
    x = np.zeros(base.shape) if start is None else (start.reshape(base.shape) - base)
    x = x - x.mean(-1, keepdims=True)
    alive = np.isfinite(x).all(-1)
    for beta in betas:
        here = np.flatnonzero(alive)
        scaled = weights[here] / (1 + beta)  # of order 1 for every β, as is the tolerance
        found, ok = newton(
            functools.partial(_with_kl, wins=scaled, log_base=base[here], gamma=gamma, beta=beta / (1 + beta)),
            x[here],
            bound=FAR,
        )
        x[here], alive[here] = found, ok
        policy = log_softmax(base + x)
        policy[~alive] = np.nan
        yield policy.reshape(shape)


def _with_kl(
    g: np.ndarray, rows: np.ndarray, *, wins: np.ndarray, log_base: np.ndarray, gamma: float, beta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PMLE + β KL(π‖π₀) of these rows at π ∝ π₀ eᵍ, with gradient and Hessian in g."""
    wins, log_base = wins[rows], log_base[rows]
    value, gradient, hessian = _pairs(g, wins, gamma, np.zeros(len(g)), log_base)
    if beta:
        log_policy = log_softmax(log_base + g)
        policy, ratio = np.exp(log_policy), log_policy - log_base
        kl = (policy * ratio).sum(-1, keepdims=True)
        pull = policy * (ratio - kl)
        value = value + beta * kl[:, 0]
        gradient = gradient + beta * pull
        cross = pull[:, :, None] * policy[:, None, :]
        outer = policy[:, :, None] * policy[:, None, :]
        hessian = hessian - beta * (cross + cross.swapaxes(-2, -1) + outer)
        diagonal = np.arange(g.shape[1])
        hessian[:, diagonal, diagonal] += beta * (pull + policy)
    return value, gradient, hessian


def _pairs(
    g: np.ndarray, wins: np.ndarray, gamma: float, ridge: np.ndarray, shift: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ W[a, b] (−log σ(γ (s_a − s_b))) + ridge/2 ‖g‖² at s = g + shift, gradient and Hessian in g.

    Only differences of g count; a unit curvature along the constant fixes the rest.
    """
    u = gamma * margins(g + shift)
    # softplus(−u) and sigmoid(−u) from one exponential: most of a fit's time goes here
    small = np.exp(-np.abs(u))
    loss, lost = np.maximum(-u, 0) + np.log1p(small), np.where(u > 0, small, 1) / (1 + small)
    pull = wins * lost
    value = (wins * loss).sum((-2, -1)) + 0.5 * ridge * (g**2).sum(-1)
    gradient = gamma * (pull.sum(-2) - pull.sum(-1)) + ridge[:, None] * g
    curvature = pull * (1 - lost)
    curvature = gamma**2 * (curvature + curvature.swapaxes(-2, -1))
    size = g.shape[1]
    hessian = 1 / size - curvature
    diagonal = np.arange(size)
    hessian[:, diagonal, diagonal] += curvature.sum(-1) + ridge[:, None]
    return value, gradient, hessian


def has_finite_fit(wins: np.ndarray) -> np.ndarray:
    """Whether the maximum-likelihood rewards of each table of wins (..., Y, Y) are finite and unique, (...).

    They are if and only if every response can be reached from every other along wins (Ford 1957): otherwise the
    responses fall into two groups of which one never lost to the other, and the likelihood rises for ever as they
    part (separable data), or which never met.
    """
    reach = (wins > 0) | np.eye(wins.shape[-1], dtype=bool)
    for _ in range(max(wins.shape[-1] - 1, 1).bit_length()):
        reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
    return np.asarray(reach.all((-2, -1)))

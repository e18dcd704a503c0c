"""Fits to preferences: Newton's method for many small problems at once, linear Bradley-Terry rewards, and γ.

Preferences determine γ log π* and nothing else: with any reward allowed, every γ fits equally well. They determine γ
when the target is known to be a tilt of the base, log π* = log π₀ + r/β, by a reward of a class in which log π₀ is not:
then logit P(a ≻ b) = γ log π₀(a)/π₀(b) + w·(φ(a) − φ(b)), and γ is the weight of the base's own log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri

from alignment_limits.preferences.objectives import sigmoid, softplus

# (points (b, D), their numbers (b,)) → value (b,), gradient (b, D), Hessian (b, D, D)
Oracle = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
_LONGEST = 4.0  # of a step's largest component


def newton(
    oracle: Oracle, start: np.ndarray, *, tolerance: float = 1e-11, steps: int = 80, bound: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Minimisers of B functions of D variables, from `start` (B, D) downhill.

    A step that does not lower the value is taken back and the damping raised, so a function need not be convex:
    what is found is the minimum in whose basin the start lies.

    Args:
        tolerance: of the gradient's largest component.
        bound: a problem whose point leaves the box ±bound is given up.

    Returns:
        points (B, D); converged (B,), False for those given up or not finished after `steps`.
    """
    x = np.array(start, dtype=float)
    done = np.zeros(len(x), bool)
    active = np.arange(len(x))
    value, gradient, hessian = oracle(x, active)
    damping = np.zeros(len(x))
    eye = np.eye(x.shape[1])
    for _ in range(steps):
        flat = np.abs(gradient).max(-1) <= tolerance
        done[active[flat]] = True
        keep = ~flat & (np.abs(x[active]).max(-1) <= bound)
        active, value, gradient, hessian = (a[keep] for a in (active, value, gradient, hessian))
        if not active.size:
            break
        scale = np.trace(hessian, axis1=-2, axis2=-1) / x.shape[1]
        shift = np.maximum(damping[active], 1e-13) * np.abs(scale) + 1e-300
        step = -np.linalg.solve(hessian + shift[:, None, None] * eye, gradient[..., None])[..., 0]
        step *= np.minimum(1, _LONGEST / np.maximum(np.abs(step).max(-1), 1e-300))[:, None]
        slope = np.einsum("bd,bd->b", step, gradient)
        trial = x[active] + step
        new = oracle(trial, active)
        rounding = 1e-14 * (1 + np.abs(value))
        good = (slope < 0) & (new[0] <= value + 1e-4 * slope + rounding)
        x[active[good]] = trial[good]
        value, gradient, hessian = (
            np.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            for a, b in zip(new, (value, gradient, hessian), strict=True)
        )
        d = damping[active]
        damping[active] = np.where(good, np.where(d < 1e-6, 0, d / 8), np.maximum(8 * d, 1e-4))
    return x, done


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


DROP = float(chdtri(1, 0.05)) / 2  # of the profile log-likelihood, at the ends of a 95% interval
_FLAT = 1e-6  # share of γ's information left once the rewards are fitted, under which there is none
_STEPS = 30


class GammaFit(NamedTuple):
    """Estimates (B,) with 95% profile-likelihood intervals; NaN and infinite ends where γ is not identified."""

    gamma: np.ndarray
    low: np.ndarray
    high: np.ndarray
    identified: np.ndarray


def profile_gamma(
    base_margin: np.ndarray, design: np.ndarray, won: np.ndarray, lost: np.ndarray, *, ridge: float = 1e-4
) -> GammaFit:
    """γ of B data sets of the same pairs, the reward profiled out.

    Args:
        base_margin: log π₀(a)/π₀(b) of every pair (pairs,).
        design: φ(a) − φ(b) (pairs, D).
        won, lost: how often a was preferred, and b, (B, pairs).
        ridge: in pairs, on w alone: keeps separable data from running away.
    """
    joint = np.column_stack([base_margin, design])
    ridges = np.r_[0.0, np.full(design.shape[1], ridge)]
    identified = np.array([_identified(joint, met) for met in won + lost])
    gamma, low, high = (np.full(len(won), fill) for fill in (np.nan, -np.inf, np.inf))
    some = np.flatnonzero(identified)
    if some.size:
        weights, best = logistic_fit(joint, won[some], lost[some], ridge=ridges)
        best = best - 0.5 * (ridges * weights**2).sum(-1)
        gamma[some] = weights[:, 0]
        spread = _spread(joint, weights, won[some] + lost[some], ridges)
        for side, ends in ((-1, low), (1, high)):
            ends[some] = _end(base_margin, design, won[some], lost[some], ridge, weights, best, side * spread)
    return GammaFit(gamma, low, high, identified)


def _identified(joint: np.ndarray, met: np.ndarray) -> bool:
    """Whether the base's margins are not a combination of the rewards' over the pairs that met."""
    seen = met > 0
    root = np.sqrt(met[seen])[:, None] * joint[seen]
    base, rest = root[:, 0], root[:, 1:]
    left = base - rest @ np.linalg.lstsq(rest, base, rcond=None)[0] if rest.shape[1] else base
    return bool(left @ left > _FLAT * (base @ base))


def _spread(joint: np.ndarray, weights: np.ndarray, met: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """Standard errors of γ from the information."""
    p = sigmoid(weights @ joint.T)
    information = np.einsum("bp,pi,pj->bij", met * p * (1 - p), joint, joint, optimize=True) + np.diag(ridges)
    return np.asarray(np.sqrt(np.linalg.inv(information)[:, 0, 0]))


def _end(
    base_margin: np.ndarray,
    design: np.ndarray,
    won: np.ndarray,
    lost: np.ndarray,
    ridge: float,
    weights: np.ndarray,
    best: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """Where the profile log-likelihood is `DROP` below its maximum, on the side of `step`: doubling, then bisection."""

    def drop(gamma: np.ndarray) -> np.ndarray:
        w, value = logistic_fit(
            design, won, lost, ridge=ridge, offset=gamma[:, None] * base_margin, start=weights[:, 1:]
        )
        return best - (value - 0.5 * ridge * (w**2).sum(-1))

    inside, outside = weights[:, 0].copy(), weights[:, 0] + 2 * step
    for _ in range(_STEPS):
        short = drop(outside) < DROP
        if not short.any():
            break
        inside, outside = np.where(short, outside, inside), np.where(short, 2 * outside - weights[:, 0], outside)
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        short = drop(middle) < DROP
        inside, outside = np.where(short, middle, inside), np.where(short, outside, middle)
        if (np.abs(outside - inside) <= 1e-3 * np.abs(step)).all():
            break
    return (inside + outside) / 2

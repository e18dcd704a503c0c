"""γ from preferences, where they hold it.

Preferences tell γ log π* and nothing else: with any reward allowed, every γ fits equally well. They tell γ when the
target is known to be a tilt of the base, log π* = log π₀ + r/β, by a reward of a class in which log π₀ is not: then
logit P(a ≻ b) = γ log π₀(a)/π₀(b) + w·(φ(a) − φ(b)), and γ is the weight of the base's own log-probabilities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import chdtri

from alignment_limits.learning.linear import logistic_fit
from alignment_limits.learning.objectives import sigmoid

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

"""What becomes of a base law over listed replies: the tilt, and every way of picking among draws, exactly.

Each function takes log π₀ and a reward of all replies, [p, R], and gives the log-probability [p, R] of the new law.
With whole laws at hand nothing is estimated: sums over replies take the place of samples (theory §1, §2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.limits.arrays import Array


def tilt(logp: Array, reward: Array, beta: ArrayLike) -> Array:
    """π₀ e^(r/β) / Z; one β, or one for each prompt [p]. β = inf is the base, β = 0 its best replies."""
    temperature = np.broadcast_to(np.asarray(beta, dtype=np.float64), len(logp))[:, None]
    best = reward == np.where(np.isneginf(logp), -np.inf, reward).max(axis=1, keepdims=True)
    at_zero = np.where(best, 0.0, -np.inf)
    safe = np.where(temperature > 0, temperature, 1.0)
    exponent = np.where(temperature > 0, (reward - reward.max(axis=1, keepdims=True)) / safe, at_zero)
    return _normalised(logp + exponent)


def best_of_n(logp: Array, reward: Array, n: int) -> Array:
    """The best of n draws; equal ones are chosen among at random."""
    return _by_quantile(logp, reward, lambda u: u**n)


def best_of_poisson(logp: Array, reward: Array, mu: float) -> Array:
    """The best of 1 + Poisson(μ) draws."""
    return _by_quantile(logp, reward, lambda u: u * np.exp(mu * (u - 1.0)))


def soft_best_of_n(logp: Array, reward: Array, n: int, temperature: float, step: float = 0.1) -> Array:
    """n draws, one of them picked by softmax(r / temperature).

    A softmax picks the largest score plus Gumbel noise, so a reply's chance is n π₀(y) ∫ f(z − r_y) F(z)^(n−1) dz, with
    f the noise's density and F the law of a draw's noisy score: a trapezoid sum, whose error is e^(−π²/step).
    """
    scaled = reward / temperature
    out = np.empty_like(logp)
    for i, (log_base, r) in enumerate(zip(logp, scaled, strict=True)):
        z = np.arange(r.min() - 4.0, r.max() + np.log(n) + 40.0, step)
        rate = np.exp(np.minimum(r[None, :] - z[:, None], 50.0))
        below = np.exp(-rate) @ np.exp(log_base)
        density = rate * np.exp(-rate)
        out[i] = np.log(n * step * np.exp(log_base) * (density.T @ below ** (n - 1)))
    return _normalised(out)


def chi2_pessimism(logp: Array, reward: Array, beta: float) -> Array:
    """Density ratio relu((r − λ) / β), λ chosen for each prompt so that probabilities sum to 1."""
    base = np.exp(logp)
    low, high = reward.min(axis=1) - beta, reward.max(axis=1)
    for _ in range(200):
        middle = 0.5 * (low + high)
        total = (base * np.maximum((reward - middle[:, None]) / beta, 0.0)).sum(axis=1)
        low, high = np.where(total > 1, middle, low), np.where(total > 1, high, middle)
    with np.errstate(divide="ignore"):
        return _normalised(logp + np.log(np.maximum((reward - low[:, None]) / beta, 0.0)))


def _by_quantile(logp: Array, reward: Array, cumulative: Callable[[Array], Array]) -> Array:
    """A pick whose reward's quantile u has the distribution function `cumulative`; equal rewards keep π₀'s shares."""
    out = np.empty_like(logp)
    for i, (log_base, r) in enumerate(zip(logp, reward, strict=True)):
        _, level = np.unique(r, return_inverse=True)
        mass = np.bincount(level, np.exp(log_base))
        edges = np.clip(np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum(), 0.0, 1.0)
        picked = np.diff(cumulative(edges))
        with np.errstate(divide="ignore"):
            out[i] = log_base + np.log(picked / np.where(mass > 0, mass, 1.0))[level]
    return _normalised(out)


def _normalised(logp: Array) -> Array:
    top = logp.max(axis=1, keepdims=True)
    return np.asarray(logp - top - np.log(np.exp(logp - top).sum(axis=1, keepdims=True)))

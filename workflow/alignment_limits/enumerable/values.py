"""Exact values of laws over listed replies: KL, gain, win rate of each prompt, and the limit at a KL budget.

Arrays are [p, R]: log-probabilities and rewards of R replies to p prompts. KL in nats per reply, gains in the reward's
units; nothing here is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.enumerable.laws import tilt
from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array

HOTTEST, COLDEST = -12.0, 12.0  # log 1/β between which the limit is looked for, in units of the reward's spread


def kl(law: Array, base: Array) -> Array:
    """KL(law ‖ base) of each prompt [p]; inf where the law leaves the base's support."""
    p = np.exp(law)
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0, p * (law - base), 0.0)
    return np.asarray(terms.sum(axis=1))


def mean(law: Array, reward: Array) -> Array:
    """E r of each prompt [p]."""
    return np.asarray((np.exp(law) * reward).sum(axis=1))


def gain(law: Array, base: Array, reward: Array) -> Array:
    """E_law r − E_base r of each prompt [p]."""
    centred = reward - mean(base, reward)[:, None]
    return mean(law, centred)


def spread(base: Array, reward: Array) -> float:
    """Standard deviation of the reward within prompts under the base: the unit of gains."""
    centred = reward - mean(base, reward)[:, None]
    return float(np.sqrt(mean(base, centred**2).mean()))


def win_rate(law: Array, base: Array, reward: Array) -> Array:
    """P(the law's reply scores higher than the base's) + P(equal) / 2 of each prompt [p]."""
    out = np.empty(len(law))
    for i, (ours, theirs, r) in enumerate(zip(np.exp(law), np.exp(base), reward, strict=True)):
        _, level = np.unique(r, return_inverse=True)
        us, them = np.bincount(level, ours), np.bincount(level, theirs)
        out[i] = us @ (np.cumsum(them) - them / 2)
    return out


@dataclass(frozen=True)
class Limit:
    """The largest mean gain at a budget. law : [p, R]. beta : dG*/dκ, a mean over prompts where each has its own."""

    law: Array
    beta: float


def limit(base: Array, reward: Array, budget: ArrayLike, convention: str = "average") -> Limit:
    """The tilt that spends `budget` nats: on average over prompts with one β, or on every prompt with its own.

    Args:
        budget: one KL, or one for each prompt [p]; only their mean counts in the average convention. Beyond what the
            best replies cost, the law that always gives these (β = 0).
    """
    spent = np.broadcast_to(np.asarray(budget, dtype=np.float64), len(base))
    if convention == "average":
        beta = np.full(len(base), _beta_at(base, reward, float(spent.mean())))
    elif convention == "per-prompt":
        beta = np.array([_beta_at(base[[i]], reward[[i]], float(spent[i])) for i in range(len(base))])
    else:
        raise EstimateError(f"there is no budget convention '{convention}', but average and per-prompt")
    return Limit(tilt(base, reward, beta), float(beta.mean()))


def _beta_at(base: Array, reward: Array, budget: float) -> float:
    """β at which the mean KL of the tilt is `budget`, by bisection on log 1/β: KL grows with it."""
    if budget <= 0:
        return np.inf
    if kl(tilt(base, reward, 0.0), base).mean() <= budget:
        return 0.0
    unit = spread(base, reward)
    low, high = HOTTEST, COLDEST
    for _ in range(100):
        middle = 0.5 * (low + high)
        spent = kl(tilt(base, reward, unit * np.exp(-middle)), base).mean()
        low, high = (middle, high) if spent < budget else (low, middle)
    return float(unit * np.exp(-0.5 * (low + high)))

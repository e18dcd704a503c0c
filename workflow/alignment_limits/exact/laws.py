"""Laws over listed replies, and their exact values.

The tilt and every way of picking among draws of a base law; KL, gain and win rate of each prompt, and the limit.
p is the number of prompts and R the number of replies to each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import EstimateError


def tilt(logp: Array, reward: Array, beta: ArrayLike) -> Array:
    """The tilt π₀ e^(r/β) / Z.

    Args:
        logp: log π₀ [p, R].
        reward: [p, R].
        beta: one, or one for each prompt [p], in units of the reward; inf is the base, 0 its best replies.

    Returns:
        Log-probabilities [p, R].

    Example:
        >>> half = np.log([[0.5, 0.5]])
        >>> np.exp(tilt(half, np.log([[1.0, 3.0]]), 1.0)).round(3)
        array([[0.25, 0.75]])

    References:
        docs/theory.md, "The tilt".
    """
    temperature = np.broadcast_to(np.asarray(beta, dtype=np.float64), len(logp))[:, None]
    best = reward == np.where(np.isneginf(logp), -np.inf, reward).max(axis=1, keepdims=True)
    at_zero = np.where(best, 0.0, -np.inf)
    safe = np.where(temperature > 0, temperature, 1.0)
    exponent = np.where(temperature > 0, (reward - reward.max(axis=1, keepdims=True)) / safe, at_zero)
    return _normalised(logp + exponent)


def best_of_n(logp: Array, reward: Array, n: int) -> Array:
    """The best of n draws; one of several equal ones is chosen at random.

    Args:
        logp, reward: log π₀ and the reward [p, R].
        n: draws.

    Returns:
        Log-probabilities [p, R].

    Example:
        >>> np.exp(best_of_n(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), 2)).round(3)
        array([[0.25, 0.75]])

    References:
        docs/theory.md, "Best-of-n".
    """
    return _by_quantile(logp, reward, lambda u: u**n)


def best_of_poisson(logp: Array, reward: Array, mu: float) -> Array:
    """The best of 1 + Poisson(μ) draws.

    Args:
        logp, reward: log π₀ and the reward [p, R].
        mu: μ, at least 0.

    Returns:
        Log-probabilities [p, R].

    Example:
        >>> np.exp(best_of_poisson(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), 1.0)).round(3)
        array([[0.303, 0.697]])

    References:
        arXiv 2506.19248; docs/theory.md, "Relatives of best-of-n".
    """
    return _by_quantile(logp, reward, lambda u: u * np.exp(mu * (u - 1.0)))


def soft_best_of_n(logp: Array, reward: Array, n: int, temperature: float, step: float = 0.1) -> Array:
    """n draws, of which one is picked by softmax(r / temperature).

    A softmax picks the largest score plus Gumbel noise. So a reply's probability is n π₀(y) ∫ f(z − r_y) F(z)^(n−1) dz,
    with f the density of the noise and F the law of a draw's noisy score. The integral is a trapezoid sum with an error
    of e^(−π²/step).

    Args:
        logp, reward: log π₀ and the reward [p, R].
        n: draws.
        temperature: positive, in units of the reward.
        step: of the sum.

    Returns:
        Log-probabilities [p, R].

    Example:
        >>> np.exp(soft_best_of_n(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), 2, 0.01)).round(3)
        array([[0.25, 0.75]])

    References:
        docs/theory.md, "Relatives of best-of-n".
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
    """Density ratio relu((r − λ) / β), with λ solved for each prompt so that probabilities sum to 1.

    Args:
        logp, reward: log π₀ and the reward [p, R].
        beta: positive, in units of the reward.

    Returns:
        Log-probabilities [p, R].

    Example:
        >>> np.exp(chi2_pessimism(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), 1.0)).round(3)
        array([[0.25, 0.75]])

    References:
        arXiv 2503.21878; docs/theory.md, "Relatives of best-of-n".
    """
    base = np.exp(logp)
    low, high = reward.min(axis=1) - beta, reward.max(axis=1)
    for _ in range(200):
        middle = 0.5 * (low + high)
        total = (base * np.maximum((reward - middle[:, None]) / beta, 0.0)).sum(axis=1)
        low, high = np.where(total > 1, middle, low), np.where(total > 1, high, middle)
    with np.errstate(divide="ignore"):
        return _normalised(logp + np.log(np.maximum((reward - low[:, None]) / beta, 0.0)))


def _by_quantile(logp: Array, reward: Array, cumulative: Callable[[Array], Array]) -> Array:
    """A pick whose reward's quantile u has the distribution function `cumulative`. Equal rewards keep π₀'s shares."""
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


# ways of choosing among draws by the name of their rows: the law from log π₀, the reward, n and the temperature
WAYS_OF_CHOOSING: dict[str, Callable[[Array, Array, float, float], Array]] = {
    "best-of-n": lambda logp, reward, n, temperature: best_of_n(logp, reward, int(n)),
    "predicted-best-of-n": lambda logp, reward, n, temperature: best_of_n(logp, reward, int(n)),
    "best-of-poisson": lambda logp, reward, n, temperature: best_of_poisson(logp, reward, n - 1.0),
    "soft-best-of-n": lambda logp, reward, n, temperature: soft_best_of_n(logp, reward, int(n), temperature),
    "chi2-pessimism": lambda logp, reward, n, temperature: chi2_pessimism(logp, reward, temperature),
}

COLDEST, HOTTEST = -14.0, 14.0  # range of log 1/β in the search for the limit, β in units of the reward's spread
STEPS = 40


def kl(law: Array, base: Array) -> Array:
    """KL(law‖base) of each prompt.

    Args:
        law, base: log-probabilities [p, R].

    Returns:
        Nats [p]; inf where the law leaves the base's support.

    Example:
        >>> kl(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])).round(3)
        array([0.144])
    """
    p = np.exp(law)
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0, p * (law - base), 0.0)
    return np.asarray(terms.sum(axis=1))


def mean(law: Array, reward: Array) -> Array:
    """E r of each prompt.

    Args:
        law: log-probabilities [p, R].
        reward: [p, R].

    Returns:
        Means [p], in units of the reward.

    Example:
        >>> mean(np.log([[0.25, 0.75]]), np.array([[0.0, 1.0]])).round(3)
        array([0.75])
    """
    return np.asarray((np.exp(law) * reward).sum(axis=1))


def gain(law: Array, base: Array, reward: Array) -> Array:
    """E_law r − E_base r of each prompt.

    Args:
        law, base: log-probabilities [p, R].
        reward: [p, R].

    Returns:
        Gains [p], in units of the reward.

    Example:
        >>> gain(np.log([[0.25, 0.75]]), np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])).round(3)
        array([0.25])
    """
    centred = reward - mean(base, reward)[:, None]
    return mean(law, centred)


def spread(base: Array, reward: Array) -> float:
    """Standard deviation of the reward within prompts under the base: the unit of gains.

    Args:
        base: log π₀ [p, R].
        reward: [p, R].

    Returns:
        The standard deviation, in units of the reward.

    Example:
        >>> round(spread(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])), 3)
        0.5
    """
    centred = reward - mean(base, reward)[:, None]
    return float(np.sqrt(mean(base, centred**2).mean()))


def win_rate(law: Array, base: Array, reward: Array) -> Array:
    """P(the law's reply scores higher than the base's) + P(equal) / 2 of each prompt.

    Args:
        law, base: log-probabilities [p, R].
        reward: [p, R].

    Returns:
        Win rates [p].

    Example:
        >>> win_rate(np.log([[0.25, 0.75]]), np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])).round(3)
        array([0.625])
    """
    out = np.empty(len(law))
    for i, (ours, theirs, r) in enumerate(zip(np.exp(law), np.exp(base), reward, strict=True)):
        _, level = np.unique(r, return_inverse=True)
        us, them = np.bincount(level, ours), np.bincount(level, theirs)
        out[i] = us @ (np.cumsum(them) - them / 2)
    return out


@dataclass(frozen=True)
class Limit:
    """The law with the largest mean gain at a budget.

    Attributes:
        law: log-probabilities [p, R].
        beta: dG*/dκ, a mean over prompts if each has its own.
    """

    law: Array
    beta: float


def limit(base: Array, reward: Array, budget: ArrayLike, convention: str = "average") -> Limit:
    """The tilt that spends `budget` nats: on average over prompts with one β, or on every prompt with its own β.

    Args:
        base, reward: log π₀ and the reward [p, R].
        budget: one KL in nats, or one for each prompt [p]; only their mean counts in the average convention.
        convention: "average" or "per-prompt".

    Returns:
        The law; for budgets above the KL of the best replies, the law that always gives these (β = 0).

    Raises:
        EstimateError: an unknown convention.

    Example:
        >>> half, reward = np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])
        >>> kl(limit(half, reward, 0.1).law, half).round(6)
        array([0.1])

    References:
        docs/theory.md, "The limit at a KL budget" and "Two budgets".
    """
    spent = np.broadcast_to(np.asarray(budget, dtype=np.float64), len(base))
    if convention == "average":
        beta = _beta_at(base, reward, np.full(len(base), spent.mean()), np.mean)
    elif convention == "per-prompt":
        beta = _beta_at(base, reward, spent, lambda each: each)
    else:
        raise EstimateError(f"unknown budget convention '{convention}'; use average or per-prompt")
    return Limit(tilt(base, reward, beta), float(beta.mean()))


def _beta_at(base: Array, reward: Array, budget: Array, pool: Callable[[Array], ArrayLike]) -> Array:
    """β [p] at which the pooled KL of the tilt is the budget.

    Newton's steps in x = log 1/β, where dKL/dx = Var r / β². The bracket is halved where a step would leave it.
    """
    unit = spread(base, reward)
    if unit == 0 or budget.max() <= 0:
        return np.full(len(base), np.inf)
    floor = kl(tilt(base, reward, 0.0), base)
    dearest = np.broadcast_to(np.asarray(pool(floor)), budget.shape)
    low, high = np.full(len(base), COLDEST), np.full(len(base), HOTTEST)
    x = np.zeros(len(base))
    for _ in range(STEPS):
        spent, slope = (
            np.broadcast_to(np.asarray(pool(v)), x.shape) for v in _tilted_kl(base, reward, np.exp(x) / unit)
        )
        low, high = np.where(spent < budget, x, low), np.where(spent < budget, high, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x - (spent - budget) / slope
        x = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
    return np.where(budget <= 0, np.inf, np.where(budget >= dearest, 0.0, unit * np.exp(-x)))


def _tilted_kl(base: Array, reward: Array, inverse: Array) -> tuple[Array, Array]:
    """KL of the tilt at λ = 1/β [p], and its derivative in log λ, both [p]."""
    below = reward - reward.max(axis=1, keepdims=True)
    w = np.exp(base + inverse[:, None] * below)
    total = w.sum(axis=1)
    first, second = (w * below).sum(axis=1) / total, (w * below**2).sum(axis=1) / total
    return inverse * first - np.log(total), inverse**2 * np.maximum(second - first**2, 0.0)

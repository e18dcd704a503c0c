"""Brackets of the limit: a lower bound that holds for every tail, and an upper bound for rewards with known bounds.

Lower bound. For every law of rewards the plug-in limit is too low on average, as it is a minimum over beta of
logarithms of means. So a lower confidence bound of the plug-in limit is one of the limit too.

Upper bound. For every beta, with mu_x the mean reward of prompt x,

    G*(kappa) <= beta kappa + beta E_x log E e^{(r - mu_x) / beta} <= beta kappa + beta log E_x E e^{(r - mu_x) / beta}.

W_x = mean_i e^{(r_i - c_i) / beta}, where c_i is the mean of the prompt's other samples, has
E W_x >= E e^{(r - mu_x) / beta}, because c_i is independent of r_i and has mean mu_x (Jensen). As
r_i - c_i = m / (m - 1) (r_i - mean), W_x is at most `largest_mean` of the range, and prompts are independent. So an
upper confidence bound of the mean of independent bounded numbers gives one of the limit, if the chances of error of all
betas add up to the one allowed. Both budgets have the same upper bound, as the average one allows more. See
docs/theory.md, "Brackets".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, enough_samples, prompt_means, sample_counts
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.reliability import FEWEST_PROMPTS

Bounds: TypeAlias = tuple[ArrayLike, ArrayLike]  # the lowest and the highest score, each one number or one per prompt

WIDER = 1.2  # the lower end of a 95 % interval, 97.5 % from below, taken further to 99 %
ERROR = 0.025  # chance that an upper bound is too low at any of the betas
RANGES: Array = np.array([0.1 * 1.5**k for k in range(13)])  # of rewards, over beta; fixed before scores are seen
SLACK = 1e-9  # rounding of scores and bounds, as a share of the range


def lower_end(mean: Array, low: Array) -> Array:
    """A lower confidence bound of about 99 %, from a mean and the lower end of its 95 % interval."""
    return mean - WIDER * (mean - low)


def lower_ends(boot: PromptBootstrap, mean: Array, low: Array, where: np.ndarray | None = None) -> Array:
    """Lower confidence bounds of means (K,), NaN with fewer than 16 prompts (clusters), or where `where` is false."""
    enough = boot.units >= FEWEST_PROMPTS
    return np.where(enough if where is None else where & enough, lower_end(mean, low), np.nan)


def at_least(kappa: Array, plugin: Array, low: Array) -> Array:
    """Lower confidence bounds of the limit at each KL (K,). What the samples do not reach is no less than what they do.

    Args:
        kappa: budgets (K,).
        plugin, low: the plug-in limit and the lower end of its interval (K,).
    """
    order = np.argsort(kappa, kind="stable")
    bound = np.empty_like(low)
    bound[order] = np.fmax.accumulate(lower_end(plugin, low)[order])
    return bound


def check_bounds(scores: Array, bounds: Bounds, name: str = "scores") -> tuple[Array, Array]:
    """The lowest and highest score of each prompt, (P,) each.

    Raises:
        EstimateError: bounds that are not finite or not in order, or a score outside of them (with its place).
    """
    shape = (len(scores),)
    try:
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), shape) for end in bounds)
    except (ValueError, TypeError) as error:
        raise EstimateError(
            f"Bounds of '{name}' must be its lowest and its highest score, each one number or one for each of the "
            f"{len(scores)} prompts."
        ) from error
    if not np.all(np.isfinite(low) & np.isfinite(high) & (low < high)):
        raise EstimateError(f"Bounds of '{name}' must be finite, the first below the second.")
    slack = SLACK * (high - low)
    outside = (scores < (low - slack)[:, None]) | (scores > (high + slack)[:, None])
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise EstimateError(
            f"{int(outside.sum())} score(s) of '{name}' are outside its bounds, the first is {scores[row, column]:g} "
            f"(row {row}, sample {column}), not within {low[row]:g} to {high[row]:g}. Correct the bounds or the scores."
        )
    return low, high


def largest_mean(ranges: ArrayLike) -> Array:
    """The largest E e^{s - E s} of any law of s with a given range (K,): (e^a - 1) / a * e^{a / (e^a - 1) - 1}.

    Two points carry it. Then it is (1 + p (e^a - 1)) e^{-p a}, largest at p = 1 / a - 1 / (e^a - 1).

    Example:
        >>> largest_mean([1.0, 4.0]).round(3)
        array([1.131, 5.311])
    """
    a = np.asarray(ranges, dtype=np.float64)
    rise = np.expm1(a)
    return np.asarray(rise / a * np.exp(a / rise - 1))


def upper_mean(values: Array, sizes: Array, top: Array, error: float) -> Array:
    """Upper confidence bounds of means of independent numbers in [0, top], by Gaffke's bound.

    Units get Dirichlet weights, and one further unit has the largest value. The bound is the quantile of the weighted
    mean, by a saddlepoint approximation. For numbers that are 0 or `top` it is Clopper and Pearson's. That it holds for
    all laws is a conjecture without known exception.

    Args:
        values: sums of each unit (U, K).
        sizes: number of prompts of each unit (U,); its sum is at most size * top.
        top: (K,).
        error: chance that the bound is too low.

    Returns:
        (K,).

    Example:
        >>> upper_mean(np.zeros((100, 1)), np.ones(100), np.ones(1), 0.025).round(3)  # 1 - .025^(1/100)
        array([0.036])
    """
    low, high = values.sum(axis=0) / sizes.sum(), top.astype(np.float64)
    for _ in range(34):
        middle = (low + high) / 2
        away = np.concatenate([values - sizes[:, None] * middle, sizes.max() * (top - middle)[None]])
        likely = _above_zero(away) > error
        low, high = np.where(likely, middle, low), np.where(likely, high, middle)
    return high


def _above_zero(away: Array) -> Array:
    """P(sum of exponential numbers times `away` (U, K) > 0), (K,); 1 where its mean is not negative."""
    unit = away.max(axis=0)
    scaled = away / np.where(unit > 0, unit, 1.0)
    low, high = np.zeros(len(unit)), np.ones(len(unit))
    for _ in range(26):
        middle = (low + high) / 2
        falls = (scaled / (1 - middle * scaled)).sum(axis=0) < 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    tilted = scaled / (1 - low * scaled)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(2 * np.log1p(-low * scaled).sum(axis=0))
        wald = low * np.sqrt((tilted**2).sum(axis=0))
        tail = scipy.special.ndtr(-root) + np.exp(-(root**2) / 2) / np.sqrt(2 * np.pi) * (1 / wald - 1 / root)
    return np.where((scaled.sum(axis=0) >= 0) | ~np.isfinite(tail), 1.0, tail)


def bernstein(mean: Array, square: Array, count: int, error: float) -> Array:
    """Upper confidence bounds of means of `count` independent numbers in [0, 1], from their means and mean squares.

    References:
        Maurer and Pontil (2009), theorem 4.
    """
    if count < 2:
        return np.ones_like(mean)
    variance = np.maximum(square - mean**2, 0.0) * count / (count - 1)
    log = np.log(2 / error)
    return np.minimum(mean + np.sqrt(2 * variance * log / count) + 7 * log / (3 * (count - 1)), 1.0)


@dataclass(frozen=True)
class Dual:
    """Upper confidence bounds that hold together, with probability 97.5 %, for any KL and any policy.

    Attributes:
        beta: (B,).
        value: of the largest gain - beta KL, in units of the reward (B,).
        best: of the gain of always giving the best possible score.
    """

    beta: Array
    value: Array
    best: float

    @classmethod
    def of(cls, scores: Array, bounds: Bounds, boot: PromptBootstrap, name: str = "scores") -> "Dual":
        """From base samples (P, M) and the bounds of their scores."""
        low, high = check_bounds(scores, bounds, name)
        counts = sample_counts(scores)
        rows = enough_samples(scores) & (counts > 1)
        span = float((high - low).max())
        if not rows.any():
            return cls(span / RANGES, np.full(len(RANGES), np.inf), np.inf)
        more = np.where(rows, counts / np.maximum(counts - 1, 1), 1.0)  # from a sample's distance to all to the others
        centred = (scores - prompt_means(scores)[:, None]) / span * more[:, None]
        values = np.zeros((len(scores), len(RANGES) + 1))
        for k, span_k in enumerate(RANGES):
            values[rows, k] = np.nanmean(np.exp(span_k * centred[rows]), axis=1)
        values[rows, -1] = (high - prompt_means(scores))[rows] / span
        top = np.append(largest_mean(RANGES * more[rows].max()), 1.0)
        sizes = boot.sums(rows.astype(np.float64))
        units = boot.sums(values)[sizes > 0]
        return cls.from_means(RANGES, span, upper_mean(units, sizes[sizes > 0], top, ERROR / len(top)))

    @classmethod
    def from_means(cls, ranges: Array, span: float, means: Array) -> "Dual":
        """From upper bounds of the means of W_x at each range over beta, and last of the best score's gain / range."""
        beta = span / ranges
        return cls(beta, beta * np.log(np.maximum(means[:-1], 1.0)), span * float(means[-1]))

    def at(self, kappa: Array) -> Array:
        """Upper bounds of the limit at each KL (K,)."""
        all_betas = (self.beta * np.asarray(kappa)[:, None] + self.value).min(axis=1)
        return np.where(np.asarray(kappa) > 0, np.minimum(all_betas, self.best), 0.0)

    def at_beta(self, beta: Array, net: Array) -> Array:
        """Upper bounds of the gain at each temperature (K,).

        A(lambda) = E_x log E e^{lambda (r - mu)} is convex and the gain is its slope, so no steeper than any chord to a
        larger lambda: from a lower bound of A here to an upper bound of A there.

        Args:
            beta: temperatures (K,).
            net: lower bounds of gain - beta KL = beta A (K,).
        """
        inverse, there = 1 / beta[:, None], 1 / self.beta
        rise = self.value * there - (net / beta)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            chords = np.where(there > inverse, rise / (there - inverse), np.inf)
        return np.minimum(chords.min(axis=1), self.best)


def duals(
    scores: Mapping[str, Array], bounds: Mapping[str, Bounds] | Bounds | None, boot: PromptBootstrap
) -> dict[str, Dual]:
    """The upper bounds of each reward that has bounds; one pair of bounds is of all of them.

    Raises:
        EstimateError: bounds of a reward that is not there, or scores outside of them.
    """
    if bounds is None:
        return {}
    given = bounds if isinstance(bounds, Mapping) else dict.fromkeys(scores, bounds)
    if unknown := [name for name in given if name not in scores]:
        raise EstimateError(f"Bounds of '{unknown[0]}', which is not an evaluated reward ({', '.join(scores)}).")
    return {name: Dual.of(scores[name], given[name], boot, name) for name in given}

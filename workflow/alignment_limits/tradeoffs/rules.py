"""Rules that spend draws where they pay: a number of draws for each prompt, and a stopping rule.

Both are learned from one part of a prompt's samples and judged on another part, so that no rule is judged by the
samples that chose it. A rule has a price c for a draw. A prompt whose replies are c_x times as long as others has the
price c c_x.

- n(x): the best of n draws gains g_x(n), which is concave. A further draw is made while it gains more than the price.
- Stopping: with the law of the reward known, the best rule with recall draws until the best reward so far reaches the
  reservation value z with E (r - z)+ = price (Weitzman 1979), at most N times.

What a rule gains and costs on m further samples is a mean over all orders of these samples, in closed form. So it is
unbiased for new draws, as best-of-n is. If k of the m samples reach z, the first j draws all miss it with probability
C(m - k, j) / C(m, j).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alignment_limits.ensembles.scores import QUARTERS, Array, sample_counts, split_labels
from alignment_limits.limits.ranks import Ranks, log_choose, pick_table

AT_ONCE = 2**21  # comparisons at once


@dataclass(frozen=True)
class Spent:
    """What a rule gains and costs at C prices, each (P, C).

    Attributes:
        gain: mean evaluated reward of the picks, relative to the base's.
        draws: expected number of draws.
        tokens: their expected total length.
    """

    gain: Array
    draws: Array
    tokens: Array

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.gain + other.gain, self.draws + other.draws, self.tokens + other.tokens)

    def over(self, count: int) -> "Spent":
        """Divided by a number, for means."""
        return Spent(self.gain / count, self.draws / count, self.tokens / count)


@dataclass(frozen=True)
class Part:
    """A part of each prompt's samples, NaN where there is none; arrays (P, H).

    Attributes:
        selecting: scores that choose.
        evaluated: scores of the same samples to report.
        lengths: of the same samples.
    """

    selecting: Array
    evaluated: Array
    lengths: Array


def parts(selecting: Array, evaluated: Array, lengths: Array, keys: np.ndarray, seed: int) -> tuple[Part, Part]:
    """Two random halves of each prompt's samples; the first has one more if their number is odd."""
    counts = sample_counts(selecting)
    first = np.argsort(np.isnan(selecting), axis=1, kind="stable")  # the samples that are there come first
    arrays = [np.take_along_axis(each, first, axis=1) for each in (selecting, evaluated, lengths)]
    labels = split_labels(counts, selecting.shape[1], keys, seed)
    halves = []
    for half in (0, 1):
        inside = (labels >= 0) & (labels // (QUARTERS // 2) == half)
        place = np.argsort(~inside, axis=1, kind="stable")[:, : int(inside.sum(axis=1).max())]
        kept = np.take_along_axis(inside, place, axis=1)
        halves.append(Part(*(np.where(kept, np.take_along_axis(each, place, axis=1), np.nan) for each in arrays)))
    return halves[0], halves[1]


def _blocks(prompts: int, width: int) -> Iterator[slice]:
    step = max(1, AT_ONCE // max(width, 1))
    return (slice(start, start + step) for start in range(0, prompts, step))


def gains_of_draws(scores: Array, most: int) -> Array:
    """Expected best of n = 1 ... `most` draws of each prompt, less the mean (P, most); every prompt has `most` samples.

    Example:
        >>> gains_of_draws(np.array([[0.0, 3.0, 0.0]]), 3).round(9).tolist()
        [[0.0, 1.0, 2.0]]
    """
    ranks = Ranks.of(scores)
    values = ranks.ranked(scores - np.nanmean(scores, axis=1, keepdims=True))
    return ranks.sums(values, lambda m: pick_table(m, np.arange(1, most + 1)))


def draws_at(scores: Array, prices: Array, most: int) -> np.ndarray:
    """The number of draws (P, C) of each prompt at its prices (P, C), from 1 to `most`, by its gains from `scores`.

    A further draw is made if it gains more than its price. A price of 0 gives `most` draws.
    """
    steps = np.diff(gains_of_draws(scores, most), axis=1)
    out = np.empty(prices.shape, dtype=np.int64)
    for rows in _blocks(len(scores), prices.shape[1] * most):
        out[rows] = 1 + np.sum(steps[rows, None, :] > prices[rows, :, None], axis=2)
    return np.where(prices > 0, out, most)


def reservation_values(scores: Array, prices: Array) -> Array:
    """The reservation values z (P, C) with mean (r - z)+ = price, from samples (P, M) and prices (P, C); inf at 0.

    Example:
        >>> reservation_values(np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([[0.25, 0.75]])).tolist()
        [[2.0, 1.0]]
    """
    best = -np.sort(-scores, axis=1)  # descending, NaN last
    counts = sample_counts(scores)[:, None]
    width = scores.shape[1]
    total = np.cumsum(np.nan_to_num(best), axis=1)
    k = np.arange(1, width + 1)
    later = np.concatenate([best[:, 1:], np.full((len(best), 1), np.nan)], axis=1)
    with np.errstate(invalid="ignore"):
        excess = np.where(k < counts, (total - k * later) / counts, np.inf)  # mean excess over the next best
    out = np.empty(prices.shape)
    for rows in _blocks(len(scores), prices.shape[1] * width):
        above = 1 + np.sum(excess[rows, None, :] < prices[rows, :, None], axis=2)
        above = np.minimum(above, counts[rows])
        out[rows] = (np.take_along_axis(total[rows], above - 1, axis=1) - counts[rows] * prices[rows]) / above
    return np.where(prices > 0, out, np.inf)


class Judge:
    """Judges rules on a part of each prompt's samples.

    Args:
        part: the samples.
        most: no rule draws more often; every prompt has this many samples.
    """

    def __init__(self, part: Part, most: int) -> None:
        self.ranks = ranks = Ranks.of(part.selecting)
        self.most, self.counts = most, ranks.counts
        self.selecting = ranks.ranked(part.selecting)
        own = part.evaluated - np.nanmean(part.evaluated, axis=1, keepdims=True)
        self.values = ranks.tie_means(ranks.ranked(own))
        self.lengths = ranks.ranked(part.lengths)

    def fixed(self, draws: np.ndarray) -> Spent:
        """The best of a number of draws (P, C) of each prompt."""
        curve = self.ranks.sums(self.values, lambda m: pick_table(m, np.arange(1, self.most + 1)))
        curve[:, 0] = 0.0  # one draw gains nothing, exactly
        gain = np.take_along_axis(curve, draws - 1, axis=1)
        return Spent(gain, draws.astype(np.float64), draws * np.nanmean(self.lengths, axis=1, keepdims=True))

    def stopping(self, thresholds: Array) -> Spent:
        """Draw until the selecting score reaches a threshold (P, C), at most `most` times; then the best draw."""
        prompts, count = thresholds.shape
        reach = np.empty((prompts, count), dtype=np.int64)
        for rows in _blocks(prompts, count * self.selecting.shape[1]):
            reach[rows] = np.sum(self.selecting[rows, None, :] >= thresholds[rows, :, None], axis=2)
        out = [np.empty((prompts, count)) for _ in range(3)]
        for m in np.unique(self.counts):
            some = np.flatnonzero(self.counts == m)
            spent = self._stopping(int(m), self.values[some, :m], self.lengths[some, :m], reach[some])
            for into, each in zip(out, (spent.gain, spent.draws, spent.tokens), strict=True):
                into[some] = each
        return Spent(*out)

    def _stopping(self, m: int, values: Array, lengths: Array, reach: np.ndarray) -> Spent:
        """The same for prompts with m samples in ascending order, of which `reach` (P, C) reach the threshold."""
        never, draws, low, high = _orders(m, self.most)
        lower = m - reach  # so many samples miss it: the first ones

        def first(values: Array) -> tuple[Array, Array]:
            """Sums over the samples below the threshold and over the others."""
            sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
            below = np.take_along_axis(sums, lower, axis=1)
            return below, sums[:, -1:] - below

        missed, _ = first(values * pick_table(m, np.array([self.most]))[:, 0])
        _, reached = first(values)
        gain = missed + reached / np.maximum(reach, 1) * (1 - never[reach])
        below, above = first(lengths)
        return Spent(gain, draws[reach], below * low[reach] + above * high[reach])


def _orders(m: int, most: int) -> tuple[Array, Array, Array, Array]:
    """Means over all orders of m samples, if k = 0 ... m of them stop the draws and at most `most` are drawn.

    Returns:
        P(no stop), expected draws, P(a given sample that does not stop is drawn), P(a given one that does is drawn);
        each (m + 1,).
    """
    k, j = np.arange(m + 1)[:, None], np.arange(most + 1)[None, :]
    missed = np.exp(log_choose(m - k, j + 0 * k) - log_choose(np.array(m), np.arange(most + 1)))
    others = log_choose(np.array(m - 1), np.arange(most))
    low = np.exp(log_choose(m - 1 - k, j[:, :-1] + 0 * k) - others).sum(axis=1) / m
    high = np.exp(log_choose(m - k, j[:, :-1] + 0 * k) - others).sum(axis=1) / m
    return missed[:, most], missed[:, :-1].sum(axis=1), low, high

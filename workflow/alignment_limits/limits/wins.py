"""Win rates of best-of-n and its mixtures against a fresh base sample, unbiased. Scores (P, M), NaN = no sample."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alignment_limits.limits.arrays import Array
from alignment_limits.limits.ranks import Ranks, log_choose, tie_bounds


@dataclass(frozen=True)
class Beaten:
    """What the pick of best-of-n beats, by rank of the selecting score: one count serves every n.

    Pairs are counted (i picked from an n-subset, j outside it). In ascending order of r, with i at place k: any j above
    i is outside, in C(k-1, n-1) subsets; a j below i is outside in C(k-2, n-1) of them; both averaged over orders of
    tied r. above, below : (P, M) how many of such j the sample at each rank beats in v, half for equal v.
    """

    ranks: Ranks
    above: Array
    below: Array

    @classmethod
    def of(cls, selecting: Array, scored: Array) -> "Beaten":
        """Count the pairs, quadratic in samples per prompt."""
        ranks = Ranks.of(selecting)
        above, equal, below = _counts(ranks, selecting, scored)
        # Tied i and j: averaged over orders, i at place k of its tie lower+1..upper has j above it in (upper - k) of
        # the size - 1 other places, below it in the rest.
        pair = ranks.tie_means(equal) / np.maximum(ranks.upper - ranks.lower - 1, 1)
        place = np.arange(1, scored.shape[1] + 1)
        return cls(
            ranks,
            ranks.tie_means(above) + pair * (ranks.upper - place),
            ranks.tie_means(below) + pair * (place - ranks.lower - 1),
        )

    def wins(self, ns: np.ndarray) -> Array:
        """P(v of the pick > v of an independent base sample) + half of P(equal), (P, N); NaN where n >= M."""
        return np.where(self.ranks.counts[:, None] > ns, self._sum(lambda m: ns, lambda m: None), np.nan)

    def mixed_wins(self, mixture: Callable[[int], Array]) -> Array:
        """The same for a random n, (P, K): `mixture(m)` (K, m - 1) is its law over n = 1..m-1 for m samples."""
        return self._sum(lambda m: np.arange(1, mixture(m).shape[1] + 1), mixture)

    def _sum(self, ns_of: Callable[[int], np.ndarray], mixture: Callable[[int], Array | None]) -> Array:
        def left_out(skipped: int) -> Callable[[int], Array]:
            """Share of (subset, sample outside) pairs with the pick at place k and a given sample left out, (m, N)."""

            def table(m: int) -> Array:
                ns, mix = ns_of(m), mixture(m)
                k = np.arange(1, m + 1)[:, None]
                pairs = np.where(ns < m, log_choose(np.array(m), ns) + np.log(np.maximum(m - ns, 1)), 0.0)
                shares = np.exp(log_choose(k - skipped, ns - 1) - pairs)
                return shares if mix is None else shares @ mix.T

            return table

        return self.ranks.sums(self.above, left_out(1)) + self.ranks.sums(self.below, left_out(2))


def win_rates(selecting: Array, scored: Array, ns: np.ndarray) -> Array:
    """Win rate of best-of-n by `selecting` judged by `scored`, unbiased, (P, N); NaN where n >= M."""
    return Beaten.of(selecting, scored).wins(ns)


def _counts(ranks: Ranks, selecting: Array, scored: Array) -> tuple[Array, Array, Array]:
    """How many samples with higher, equal and lower r each beats in v, half for equal v: (P, M) each, by rank."""
    if np.array_equal(selecting, scored, equal_nan=True):
        size = ranks.upper - ranks.lower
        return np.zeros(size.shape), (size - 1) / 2.0, ranks.lower.astype(np.float64)
    first, last = tie_bounds(scored)
    # Comparing small whole numbers, prompts side by side, is many times faster than comparing scores.
    small = np.int16 if 2 * scored.shape[1] < 2**15 else np.int32
    v = np.ascontiguousarray(ranks.ranked(first + last).T.astype(small))
    lower, together = np.ascontiguousarray(ranks.lower.T), np.any(ranks.tied(), axis=0)
    below, equal = np.zeros_like(v), np.zeros_like(v)  # in halves
    for k in range(len(v) - 1):  # the sample at place k against all later ones
        beats: np.ndarray = np.add(v[k] < v[k + 1 :], v[k] <= v[k + 1 :], dtype=np.int8)
        if together[k]:
            inside = lower[k + 1 :] <= k
            equal[k] += np.where(inside, 2 - beats, 0).sum(axis=0, dtype=small)
            equal[k + 1 :] += np.where(inside, beats, 0).astype(np.int8)
            beats[inside] = 0
        below[k + 1 :] += beats
    total = (ranks.ranked(first + last) - 1) / 2.0
    return total - (below.T + equal.T) / 2.0, equal.T / 2.0, below.T / 2.0

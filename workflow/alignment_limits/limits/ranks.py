"""Rank arithmetic of best-of-n: gains, KL and win rates, ties counted. Scores (P, M), NaN = no such sample.

Best-of-n depends on ranks only. Each prompt's samples are put in ascending order of the selecting score. A mean over
picks is then a weighted sum over ranks. The weights are binomials, the same for all prompts of that size. Where scores
tie, the KL follows from the atoms' masses, with a correction for the bias of their estimates. Win rates against a new
base sample are unbiased.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignment_limits.ensembles.scores import QUARTERS, Array, split_labels
from alignment_limits.limits.curve import split_count


def log_factorials(top: int) -> Array:
    """log 0! ... log top!, by summation (exact to a few ulp; n <= samples per prompt, so it is short)."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, top + 1)))])


def log_choose(above: np.ndarray, below: np.ndarray) -> Array:
    """log C(above, below), -inf where below > above or above < 0."""
    table = log_factorials(int(max(above.max(initial=0), below.max(initial=0), 0)))
    fits = (above >= below) & (below >= 0)
    a, b = np.where(fits, above, 0), np.where(fits, below, 0)
    return np.where(fits, table[a] - table[b] - table[a - b], -np.inf)


@dataclass(frozen=True)
class Ranks:
    """Each prompt's samples by ascending score; missing samples (NaN) come last, untied.

    Attributes:
        order: the sample at each rank (P, M).
        lower, upper: how many samples score less, and how many at most as much (P, M); ranks lower … upper − 1 tie.
        counts: samples of each prompt (P,).
    """

    order: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, scores: Array) -> "Ranks":
        order = np.argsort(scores, axis=1, kind="stable")
        ordered = np.take_along_axis(scores, order, axis=1)
        width = scores.shape[1]
        place = np.broadcast_to(np.arange(width), scores.shape)
        starts = np.concatenate([np.ones((len(scores), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
        lower = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
        ends = np.concatenate([starts[:, 1:], np.ones((len(scores), 1), bool)], axis=1)
        upper = np.minimum.accumulate(np.where(ends, place + 1, width)[:, ::-1], axis=1)[:, ::-1]
        return cls(order, lower, upper, np.sum(~np.isnan(scores), axis=1))

    def ranked(self, values: np.ndarray) -> np.ndarray:
        """Values of the samples (P, M), by rank."""
        return np.take_along_axis(values, self.order, axis=1)

    def unranked(self, values: np.ndarray) -> np.ndarray:
        """The inverse: from rank to sample."""
        out = np.empty_like(values)
        np.put_along_axis(out, self.order, values, axis=1)
        return out

    def tied(self) -> np.ndarray:
        """Which ranks share their score with another, (P, M) bool."""
        return np.asarray(self.upper - self.lower > 1)

    def tie_means(self, values: Array) -> Array:
        """Values by rank, each replaced by the mean over the ranks it is tied with."""
        if not self.tied().any():
            return values
        group = (self.lower + values.shape[1] * np.arange(len(values))[:, None]).ravel()
        sums = np.bincount(group, values.ravel(), minlength=values.size)
        return np.asarray(sums[group].reshape(values.shape) / (self.upper - self.lower))

    def sums(self, values: Array, table: Callable[[int], Array]) -> Array:
        """Sum over each prompt's ranks of values (P, M) times table(samples) (samples, N): (P, N)."""
        rows = {int(m): np.flatnonzero(self.counts == m) for m in np.unique(self.counts)}
        parts = {m: values[of_size, :m] @ table(m) for m, of_size in rows.items()}
        out = np.empty((len(values), next(iter(parts.values())).shape[1]))
        for m, part in parts.items():
            out[rows[m]] = part
        return out


def tie_bounds(scores: Array) -> tuple[np.ndarray, np.ndarray]:
    """For every sample, how many of its prompt are strictly lower, and how many lower or equal: (P, M) each."""
    ranks = Ranks.of(scores)
    return ranks.unranked(ranks.lower), ranks.unranked(ranks.upper)


def tied(scores: Array) -> np.ndarray:
    """Which samples share their score with another of the same prompt, (P, M) bool; False where NaN."""
    ranks = Ranks.of(scores)
    return ranks.unranked(ranks.tied())


def pick_table(samples: int, ns: np.ndarray) -> Array:
    """Probability C(k-1, n-1) / C(m, n) that the k-th lowest of m untied samples is best of n, (m, N).

    NaN where n > m.
    """
    k = np.arange(1, samples + 1)[:, None]
    subsets = np.where(ns <= samples, log_choose(np.array(samples), ns), np.nan)
    return np.exp(log_choose(k - 1, ns - 1) - subsets)


def best_of_n_weights(scores: Array, ns: np.ndarray) -> Array:
    """Probability that best-of-n picks each sample from a random n-subset of its prompt, (P, M, N).

    Tied samples share the weights of their ranks equally.
    """
    ranks = Ranks.of(scores)
    out = np.zeros((*scores.shape, len(ns)))
    for m in np.unique(ranks.counts):
        out[ranks.counts == m, :m] = pick_table(int(m), ns)
    return np.stack([ranks.unranked(ranks.tie_means(out[:, :, n])) for n in range(len(ns))], axis=-1)


def best_of_n_means(scores: Array, values: Array, ns: np.ndarray) -> Array:
    """Mean of `values` (P, M) over the picks of best-of-n by `scores`, (P, N): best_of_n_weights @ values."""
    ranks = Ranks.of(scores)
    return ranks.sums(ranks.tie_means(ranks.ranked(values)), lambda m: pick_table(m, ns))


def kl_bound(ns: np.ndarray) -> Array:
    """log n - (n - 1)/n: KL of best-of-n for continuous rewards, an upper bound otherwise (2401.01879)."""
    n = np.asarray(ns, dtype=np.float64)
    return np.log(n) - (n - 1.0) / n


def stretch_kl(u: Array, n: float) -> Array:
    """Antiderivative of n u^(n-1) log(n u^(n-1)): the KL of a continuous stretch of quantiles; 0 at u = 0."""
    safe = np.where(u > 0, u, 1.0)
    return np.where(u > 0, safe**n * (np.log(n) + (n - 1) * np.log(safe) - (n - 1) / n), 0.0)


def atom_kl(low: Array, high: Array, n: float) -> Array:
    """KL of an atom of quantiles (low, high]: q log(q / p), q = high^n - low^n, p = high - low."""
    p, q = high - low, high**n - low**n
    safe = q > 0
    return np.where(safe, q * np.log(np.where(safe, q, 1.0) / p), 0.0)


def best_of_n_kl(scores: Array, ns: np.ndarray, atoms: np.ndarray | None = None) -> Array:
    """Tie-aware KL(best-of-n‖base) per prompt: tied scores are atoms, single ones a continuous stretch.

    Uses the plug-in masses of the atoms. An atom that was sampled only once counts as continuous. This biases the
    value towards the bound log n − (n − 1)/n. Without ties the value is exactly this bound.

    Args:
        scores: (P, M).
        ns: (N,).
        atoms: the samples that belong to atoms (P, M); default: the tied ones.

    Returns:
        Nats (P, N).
    """
    ranks = Ranks.of(scores)
    members = ranks.tied() if atoms is None else ranks.ranked(atoms)
    place = np.arange(scores.shape[1])
    prompt, rank = np.nonzero(members & (ranks.lower == place) & (place < ranks.counts[:, None]))  # one per atom
    low, high = ranks.lower[prompt, rank] / ranks.counts[prompt], ranks.upper[prompt, rank] / ranks.counts[prompt]
    out = np.empty((len(scores), len(ns)))
    for index, n in enumerate(ns):
        # The interval is one continuous stretch; each atom replaces its part (never by more, by Jensen).
        excess = stretch_kl(high, n) - stretch_kl(low, n) - atom_kl(low, high, n)
        out[:, index] = kl_bound(np.asarray(n)) - np.bincount(prompt, excess, minlength=len(scores))
    return np.maximum(out, 0.0)


def per_sequence_kl(scores: Array, logprobs: Array, ns: np.ndarray) -> Array:
    """KL of best-of-n estimated from the base's probability ε of each pick.

    The mean over picks of (1 − ε)ⁿ [log n + (n − 1) log(1 − ε) − (n − 1)/n] + (1 − (1 − ε)ⁿ) log[(1 − (1 − ε)ⁿ)/ε]. It
    equals the upper bound for replies with ε → 0, and is smaller for likely replies.

    Args:
        scores: that select, (prompts, samples); NaN marks a missing sample.
        logprobs: log π₀(y|x) ≤ 0 in nats, (prompts, samples).
        ns: whole numbers of draws (N,).

    Returns:
        KL in nats (prompts, N).

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> per_sequence_kl(scores, np.full(scores.shape, -50.0), np.array([4])).mean().round(3)  # log 4 − 3/4
        np.float64(0.636)

    References:
        Beirami et al. (2024), arXiv 2401.01879; docs/theory.md, "Best-of-n".
    """
    weights = best_of_n_weights(scores, ns)
    logp = np.where(np.isnan(logprobs), -1.0, np.minimum(logprobs, 0.0))
    certain = logp == 0.0
    rest = np.log1p(-np.exp(np.where(certain, -1.0, logp)))  # log(1 - eps)
    out = np.empty((len(scores), len(ns)))
    for index, n in enumerate(ns):
        miss = np.where(certain, 0.0, np.exp(n * rest))
        hit = np.where(certain, 1.0, -np.expm1(n * rest))
        value = miss * (np.log(n) + (n - 1) * np.where(certain, 0.0, rest) - (n - 1) / n)
        # hit / eps -> n as eps -> 0, where floating point fails.
        ratio = np.where(hit > 0, np.log(np.where(hit > 0, hit, 1.0)) - logp, np.log(n))
        out[:, index] = np.sum(weights[:, :, index] * (value + hit * ratio), axis=1)
    return out


def beaten_share(scores: Array) -> Array:
    """Share of a prompt's other samples that each sample beats (ties count half), (P, M); 0 if NaN or alone."""
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None]
    share = (lower + (upper - lower - 1) / 2) / np.maximum(counts - 1, 1)
    return np.where(np.isnan(scores) | (counts < 2), 0.0, share)


FEWEST = 8  # samples that a prompt needs for the correction by quarters
SAMPLES_PER_DRAW = 4  # of tied scores: above it the correction by a series in 1/M leaves some bias


def atoms_kl(
    estimate: Callable[[Array, NDArray[np.bool_]], Array],
    scores: Array,
    bound: Array,
    *,
    keys: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> tuple[Array, Array]:
    """KL per prompt (P, N) by `estimate`, corrected for 1/m and 1/m^2 bias, and the size of the last term (P, N).

    Args:
        estimate: (scores, atoms) -> (P, N); takes NaN for missing samples. `atoms` (P, M) marks the samples of atoms.
        scores: (P, M).
        bound: (N,) KL without ties, exact for prompts without ties.
        keys: integers that name the prompts in the seeded random splits.
        seed: of the splits.

    Prompts with fewer than 8 samples keep the uncorrected value.
    """
    atoms = tied(scores)
    kl, left = np.repeat(bound[None], len(scores), axis=0), np.zeros((len(scores), len(bound)))
    some = np.flatnonzero(atoms.any(axis=1))
    if len(some):
        names = np.arange(len(scores)) if keys is None else np.asarray(keys)
        # As many splits as for all prompts, so a prompt's value does not depend on how many others tie.
        splits = split_count(len(scores))
        kl[some], left[some] = _extrapolated(estimate, scores[some], atoms[some], names[some], seed, splits)
    return kl, left


def _extrapolated(
    estimate: Callable[[Array, NDArray[np.bool_]], Array],
    scores: Array,
    atoms: NDArray[np.bool_],
    keys: NDArray[np.int64],
    seed: int,
    splits: int,
) -> tuple[Array, Array]:
    """8/3 F - 2 H + Q/3 of all samples, halves and quarters, and 2 (F - H) - (H - Q) over 3."""
    counts = np.sum(~np.isnan(scores), axis=1)
    ranks = np.argsort(scores, axis=1, kind="stable")
    full = estimate(scores, atoms)
    levels = [np.zeros_like(full), np.zeros_like(full)]
    for split in range(splits):
        labels = np.empty(scores.shape, dtype=np.int64)
        np.put_along_axis(labels, ranks, split_labels(counts, scores.shape[1], keys, seed + split), axis=1)
        for level, parts in enumerate((2, 4)):
            blocks = labels * parts // QUARTERS
            for part in range(parts):
                inside = (blocks == part) & (labels >= 0)
                share = inside.sum(axis=1) / counts / splits
                levels[level] += share[:, None] * estimate(np.where(inside, scores, np.nan), atoms)
    halves, quarters = levels
    enough = (counts >= FEWEST)[:, None]
    corrected = 8 / 3 * full - 2 * halves + quarters / 3
    last = (2 * (full - halves) - (halves - quarters)) / 3
    return np.where(enough, corrected, full), np.where(enough, last, full - halves)


@dataclass(frozen=True)
class Beaten:
    """How many samples the pick of best-of-n beats, by rank of the selecting score; one count for every n.

    Pairs (i picked from an n-subset, j outside it) are counted. In ascending order of r, with i at place k, a j above i
    is outside in all C(k−1, n−1) subsets, and a j below i in C(k−2, n−1) of them. Both are averaged over orders of
    tied r.

    Attributes:
        ranks: by the selecting score.
        above, below: how many such j the sample at each rank beats in v (ties count half), (P, M).
    """

    ranks: Ranks
    above: Array
    below: Array

    @classmethod
    def of(cls, selecting: Array, scored: Array) -> "Beaten":
        """Count the pairs, quadratic in samples per prompt."""
        ranks = Ranks.of(selecting)
        above, equal, below = _counts(ranks, selecting, scored)
        # Tied i and j, averaged over orders: i at place k of its tie lower+1..upper has j above it in (upper - k) of
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
    """How many samples with higher, equal and lower r each beats in v (ties count half): (P, M) each, by rank."""
    if np.array_equal(selecting, scored, equal_nan=True):
        size = ranks.upper - ranks.lower
        return np.zeros(size.shape), (size - 1) / 2.0, ranks.lower.astype(np.float64)
    first, last = tie_bounds(scored)
    # Comparing small integers for many prompts at once is many times faster than comparing scores.
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

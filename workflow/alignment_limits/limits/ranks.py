"""Rank arithmetic of best-of-n: gains, tie-aware KL, win rates. Scores (P, M), NaN = no such sample.

What best-of-n does depends on ranks alone: with the samples of a prompt in ascending order of the selecting score,
every mean over picks is a sum over ranks against one table of binomials, shared by all prompts of that size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alignment_limits.limits.arrays import Array


def log_factorials(top: int) -> Array:
    """log 0! ... log top!, by summation (exact to a few ulp; n <= samples per prompt, so never long)."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, top + 1)))])


def log_choose(above: np.ndarray, below: np.ndarray) -> Array:
    """log C(above, below), -inf where below > above or above < 0."""
    table = log_factorials(int(max(above.max(initial=0), below.max(initial=0), 0)))
    fits = (above >= below) & (below >= 0)
    a, b = np.where(fits, above, 0), np.where(fits, below, 0)
    return np.where(fits, table[a] - table[b] - table[a - b], -np.inf)


@dataclass(frozen=True)
class Ranks:
    """Each prompt's samples by ascending score, (P, M) arrays by rank; missing samples (NaN) stand last, untied.

    order : the sample at each rank. lower, upper : how many score less, and how many less or as much; ranks
    lower .. upper - 1 are tied. counts : (P,) samples of each prompt.
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
    """Probability that each sample is the pick of best-of-n on a random n-subset of its prompt, (P, M, N).

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
    """Tie-aware KL(best-of-n || base) per prompt, (P, N): tied scores are atoms, single ones a continuous stretch.

    Plug-in in the masses of the atoms; a reply of an atom that was sampled once counts as continuous, so the value
    errs towards the bound log n - (n-1)/n, which it reaches exactly without ties. atoms : which samples belong to
    atoms (default: the tied ones).
    """
    ranks = Ranks.of(scores)
    members = ranks.tied() if atoms is None else ranks.ranked(atoms)
    place = np.arange(scores.shape[1])
    prompt, rank = np.nonzero(members & (ranks.lower == place) & (place < ranks.counts[:, None]))  # one per atom
    low, high = ranks.lower[prompt, rank] / ranks.counts[prompt], ranks.upper[prompt, rank] / ranks.counts[prompt]
    out = np.empty((len(scores), len(ns)))
    for index, n in enumerate(ns):
        # The whole interval is a stretch; each atom replaces its stretch (never by more, by Jensen).
        excess = stretch_kl(high, n) - stretch_kl(low, n) - atom_kl(low, high, n)
        out[:, index] = kl_bound(np.asarray(n)) - np.bincount(prompt, excess, minlength=len(scores))
    return np.maximum(out, 0.0)


def per_sequence_kl(scores: Array, logprobs: Array, ns: np.ndarray) -> Array:
    """KL of best-of-n estimated from the probability eps = pi_0(y|x) of the pick (2401.01879), (P, N).

    Mean over picks of (1-eps)^n [log n + (n-1) log(1-eps) - (n-1)/n] + (1-(1-eps)^n) log[(1-(1-eps)^n)/eps]: the
    bound's value for replies of vanishing probability, less for likely ones. logprobs : (P, M) log pi_0(y|x) <= 0.
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
        # hit / eps -> n as eps -> 0, beyond the reach of floating point.
        ratio = np.where(hit > 0, np.log(np.where(hit > 0, hit, 1.0)) - logp, np.log(n))
        out[:, index] = np.sum(weights[:, :, index] * (value + hit * ratio), axis=1)
    return out


def beaten_share(scores: Array) -> Array:
    """Share of its prompt's other samples that each sample beats, half for equals, (P, M); 0 where NaN or alone."""
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None]
    share = (lower + (upper - lower - 1) / 2) / np.maximum(counts - 1, 1)
    return np.where(np.isnan(scores) | (counts < 2), 0.0, share)

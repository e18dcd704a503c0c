"""Rank arithmetic of best-of-n: weights, tie-aware KL, win rates. Scores (P, M), NaN = no such sample."""

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


def tie_bounds(scores: Array) -> tuple[np.ndarray, np.ndarray]:
    """For every sample, how many of its prompt are strictly lower, and how many lower or equal: (P, M) each.

    NaN samples get the whole range of ranks above the valid ones; callers mask them.
    """
    order = np.argsort(scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    width = scores.shape[1]
    place = np.broadcast_to(np.arange(width), scores.shape)
    starts = np.concatenate([np.ones((len(scores), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    low = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    ends = np.concatenate([starts[:, 1:], np.ones((len(scores), 1), bool)], axis=1)
    high = np.minimum.accumulate(np.where(ends, place + 1, width)[:, ::-1], axis=1)[:, ::-1]
    lower, upper = np.empty(scores.shape, np.int64), np.empty(scores.shape, np.int64)
    np.put_along_axis(lower, order, low, axis=1)
    np.put_along_axis(upper, order, high, axis=1)
    return lower, upper


def best_of_n_weights(scores: Array, ns: np.ndarray) -> Array:
    """Probability that each sample is the pick of best-of-n on a random n-subset of its prompt, (P, M, N).

    Ranks a+1..b of a tie share (C(b, n) - C(a, n)) / C(M, n) equally.
    """
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None]
    out = np.zeros((*scores.shape, len(ns)))
    for index, n in enumerate(ns):
        whole = log_choose(counts, np.asarray(n))
        share = np.exp(log_choose(upper, np.asarray(n)) - whole) - np.exp(log_choose(lower, np.asarray(n)) - whole)
        # Untied ranks lose digits in that difference; their weight has its own closed form.
        single = np.exp(log_choose(upper - 1, np.asarray(n - 1)) - whole)
        out[:, :, index] = np.where(upper - lower == 1, single, share / (upper - lower))
    out[np.isnan(scores)] = 0.0
    return out


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


def tied(scores: Array) -> np.ndarray:
    """Which samples share their score with another of the same prompt, (P, M) bool; False where NaN."""
    lower, upper = tie_bounds(scores)
    return np.asarray(np.logical_and(upper - lower > 1, ~np.isnan(scores)))


def best_of_n_kl(scores: Array, ns: np.ndarray, atoms: np.ndarray | None = None) -> Array:
    """Tie-aware KL(best-of-n || base) per prompt, (P, N): tied scores are atoms, single ones a continuous stretch.

    Plug-in in the masses of the atoms; a reply of an atom that was sampled once counts as continuous, so the value
    errs towards the bound log n - (n-1)/n, which it reaches exactly without ties. atoms : which samples belong to
    atoms (default: the tied ones).
    """
    prompts, width = scores.shape
    counts = np.maximum(np.sum(~np.isnan(scores), axis=1), 1)
    members = (tied(scores) if atoms is None else atoms) & ~np.isnan(scores)
    order = np.argsort(scores, axis=1, kind="stable")
    ordered, members = np.take_along_axis(scores, order, axis=1), np.take_along_axis(members, order, axis=1)
    # Groups of equal scores, as stretches of the flattened ranks; each row starts one.
    starts = np.flatnonzero(np.concatenate([np.ones((prompts, 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1))
    sizes = np.diff(starts, append=scores.size)
    kept = members.ravel()[starts]
    row, lower, sizes = starts[kept] // width, starts[kept] % width, sizes[kept]
    low, high = lower / counts[row], (lower + sizes) / counts[row]
    out = np.empty((prompts, len(ns)))
    for index, n in enumerate(ns):
        # The whole interval is a stretch; each atom replaces its stretch (never by more, by Jensen).
        excess = stretch_kl(high, n) - stretch_kl(low, n) - atom_kl(low, high, n)
        out[:, index] = kl_bound(np.asarray(n)) - np.bincount(row, excess, minlength=prompts)
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


def win_rates(selecting: Array, scored: Array, ns: np.ndarray) -> Array:
    """P(v of the pick > v of an independent base sample) + half of P(equal), unbiased, (P, N); NaN where n
    = M.

    Counts pairs (i picked from an n-subset, j outside it). In ascending order of r, with i at place k: any
    j above i is outside, in C(k-1, n-1) subsets; a j below i is outside in C(k-2, n-1) of them; both
    averaged over orders of tied r. Quadratic in samples per prompt.
    """
    prompts, width = scored.shape
    out = np.empty((prompts, len(ns)))
    lower, upper = tie_bounds(selecting)
    counts = np.sum(~np.isnan(selecting), axis=1)
    valid = ~np.isnan(selecting)
    above, equal, below = _beaten(selecting, scored, lower, upper)
    size = np.maximum(upper - lower, 1)
    for index, n in enumerate(ns):
        pairs = log_choose(counts, np.asarray(n))
        rest = counts - n
        with np.errstate(divide="ignore"):
            scale = pairs + np.log(np.where(rest > 0, rest, 1))
        place = np.arange(1, width + 1)[None, :]
        # Subsets with the pick at place k that leave out one given sample above it, and one given below it.
        skip_above = np.exp(log_choose(place - 1, np.asarray(n - 1)) - scale[:, None])
        skip_below = np.exp(log_choose(place - 2, np.asarray(n - 1)) - scale[:, None])
        weight_above = _group_mean(skip_above, lower, upper)
        weight_below = _group_mean(skip_below, lower, upper)
        # Tied pair: i at place a+t has size-t tied above and t-1 below, out of size-1 others.
        cumulative_above, cumulative_below = _first_moments(skip_above), _first_moments(skip_below)
        with np.errstate(divide="ignore", invalid="ignore"):
            tie = (
                upper * _range_sum(skip_above, lower, upper)
                - _between(cumulative_above, lower, upper)
                + _between(cumulative_below, lower, upper)
                - (lower + 1) * _range_sum(skip_below, lower, upper)
            ) / (size * (size - 1))
        tie = np.where(size > 1, tie, 0.0)
        total = np.where(valid, above * weight_above + below * weight_below + equal * tie, 0.0).sum(axis=1)
        out[:, index] = np.where(rest > 0, total, np.nan)
    return out


def _beaten(selecting: Array, scored: Array, lower: np.ndarray, upper: np.ndarray) -> tuple[Array, Array, Array]:
    """How many samples with higher, equal and lower r each sample beats in v, half for equal v: (P, M) each."""
    first, last = tie_bounds(scored)
    total = first + (last - first - 1) / 2.0
    if np.array_equal(selecting, scored, equal_nan=True):
        return np.zeros_like(total), (upper - lower - 1) / 2.0, lower.astype(np.float64)
    order = np.argsort(selecting, axis=1, kind="stable")
    v = np.take_along_axis(np.where(np.isnan(scored), np.inf, scored), order, axis=1)
    below, equal = np.zeros(v.shape), np.zeros(v.shape)
    low = np.take_along_axis(lower, order, axis=1)
    tied_columns = np.asarray(np.take_along_axis(tied(selecting), order, axis=1).any(axis=0))
    # One column of ranks at a time: half the pairs, and compared in place.
    for k in range(1, v.shape[1]):
        mine = v[:, k : k + 1]
        beats = (v[:, :k] < mine) + 0.5 * (v[:, :k] == mine)
        if tied_columns[k]:
            inside = np.arange(k)[None, :] >= low[:, k : k + 1]
            pairs = np.where(inside, beats, 0.0)
            equal[:, k] += pairs.sum(axis=1)
            equal[:, :k] += np.where(inside, 1.0 - beats, 0.0)  # the earlier of the pair beats the later
            below[:, k] = beats.sum(axis=1) - pairs.sum(axis=1)
        else:
            below[:, k] = beats.sum(axis=1)
    out_below, out_equal = np.empty_like(below), np.empty_like(equal)
    np.put_along_axis(out_below, order, below, axis=1)
    np.put_along_axis(out_equal, order, equal, axis=1)
    return total - out_below - out_equal, out_equal, out_below


def _cumulative(values: Array) -> Array:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _between(cumulative: Array, lower: np.ndarray, upper: np.ndarray) -> Array:
    return np.take_along_axis(cumulative, upper, axis=1) - np.take_along_axis(cumulative, lower, axis=1)


def _range_sum(values: Array, lower: np.ndarray, upper: np.ndarray) -> Array:
    return _between(_cumulative(values), lower, upper)


def _first_moments(values: Array) -> Array:
    return _cumulative(values * np.arange(1, values.shape[1] + 1))


def _group_mean(values: Array, lower: np.ndarray, upper: np.ndarray) -> Array:
    return _range_sum(values, lower, upper) / np.maximum(upper - lower, 1)

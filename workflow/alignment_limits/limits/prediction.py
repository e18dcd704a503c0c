"""Best-of-n beyond the number of samples, predicted from the tail that best-of-n up to M samples shows.

In two families of tails the mean of the best of n draws is A + B c(n), with a shape common to all prompts:

- generalised Pareto, quantile (p^-k - 1) / k at upper probability p: c(n) = (Γ(n+1) Γ(1-k) / Γ(n+1-k) - 1) / k. It
  contains uniform (k = -1), exponential (0) and Pareto tails.
- generalised Weibull, quantile (y^t - 1) / t at y = -log p: exponential tails have t = 1, and Gaussian ones are close
  to t = 0.4 over the range that matters.

Gains at M/16, M/4 and M draws, unbiased for each prompt, give A and B of the prompt and the shape of all prompts. The
ratio of the two mean steps decides the shape. Both families agree on exponential tails; the truth of bounded, Gaussian
and Pareto tails lies between them. So the prediction is their middle, and its interval covers the intervals of both.

Scores on levels (0/1 rewards, marks) have another estimate. The gain is a sum over levels of 1 - (1 - p)^n, where p is
a prompt's probability to reach the level. Over prompts, p has a beta law, fitted by maximum likelihood.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Counts, Flags, Words, check_scores, sample_counts
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, no_shorter_than_students
from alignment_limits.limits.means import FEW, behind, enough_prompts
from alignment_limits.limits.ranks import best_of_n_means, kl_bound
from alignment_limits.limits.tails import HEAVY_KURTOSIS, MARGIN, upper_kurtosis

FURTHEST = 16  # times the number of samples
FEWEST_SAMPLES = 32
FEWEST_BEHIND = 3.0
MOST_LEVELS = 64  # different scores of a reward on levels
STEP = 1e-3  # of the ratio, for its derivative


@dataclass(frozen=True, repr=False)
class PredictionTable(Columns):
    """One row for each n: the predicted gain of best-of-n, selected and evaluated by one reward.

    Attributes:
        n: draws.
        prompts: that take part.
        kl: log n - (n - 1)/n without ties, else NaN.
        gain: the middle of both families' predictions; for scores on levels, of beta laws.
        pareto, weibull: the predictions of the two families, NaN for scores on levels.
        reliable, reason: the verdict, and why not ("" if reliable).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("n", "gain")

    n: Counts
    prompts: Counts
    kl: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    pareto: Array
    weibull: Array
    reliable: Flags
    reason: Words


def predict_best_of_n(
    scores: ArrayLike,
    ns: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> PredictionTable:
    """The gain of best-of-n for n above the number of samples, with an interval and a verdict.

    Args:
        scores: of the reward that selects and is evaluated, (prompts, samples); NaN marks a missing sample.
        ns: numbers of draws, up to 16 times the number of samples.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each n.

    Raises:
        EstimateError: scores that cannot be used, too few samples, or an n below 1.

    Example:
        >>> scores = np.random.default_rng(0).exponential(size=(400, 64))
        >>> table = predict_best_of_n(scores, [256])
        >>> table.gain_low < 5.12 < table.gain_high  # 1/2 + 1/3 + ... + 1/256
        array([ True])

    References:
        Our choice; docs/theory.md, "Best-of-n beyond the samples".
    """
    array = check_scores(scores)
    samples = _samples(array)
    n = np.atleast_1d(np.asarray(ns, dtype=np.float64))
    if n.ndim != 1 or not np.all(np.isfinite(n) & (n == np.floor(n)) & (n >= 1)):
        raise EstimateError(f"n of best-of-n must be whole numbers of at least 1; got {ns!r}.")
    if samples < FEWEST_SAMPLES:
        raise EstimateError(
            f"A prediction of best-of-n needs {FEWEST_SAMPLES} samples of each prompt, but 5 % of the prompts have "
            f"{samples} or fewer."
        )
    used = sample_counts(array) >= samples
    boot = PromptBootstrap(
        int(used.sum()),
        replicates=replicates,
        seed=seed,
        level=level,
        keys=None if keys is None else np.asarray(keys)[used],
        clusters=None if clusters is None else np.asarray(clusters)[used],
    )
    array = array[used]
    levels = np.unique(array[~np.isnan(array)])
    marks = len(levels) <= MOST_LEVELS
    parts = [on_levels(array, levels, n)] if marks else [extrapolated(array, samples, n, f) for f in FAMILIES]
    if marks and len(levels) > 2:  # beta laws of several levels are only a model; for one level they are close
        parts.append(extrapolated(array, samples, n, FAMILIES[0]))
    ends = [no_shorter_than_students(boot, part, *boot.interval(part)) for part in parts]
    gains = [part.mean(axis=0) for part in parts]
    reason = _verdict(array, parts, n, samples, boot, marks)
    none = np.full(len(n), np.nan)
    return PredictionTable(
        n=n.astype(np.int64),
        prompts=np.full(len(n), len(array)),
        kl=none if marks or _tied(array) else kl_bound(n),
        gain=np.mean(gains, axis=0),
        gain_low=np.min([low for low, _ in ends], axis=0),
        gain_high=np.max([high for _, high in ends], axis=0),
        pareto=none if marks else gains[0],
        weibull=none if marks else gains[1],
        reliable=reason == "",
        reason=reason,
    )


def beyond(scores: Array) -> list[int]:
    """Numbers of draws to predict: 2, 4, 8 and 16 times the samples; none from fewer than 32 samples.

    Example:
        >>> beyond(np.zeros((100, 64)))
        [128, 256, 512, 1024]
    """
    samples = _samples(scores)
    return [samples * k for k in (2, 4, 8, FURTHEST)] if samples >= FEWEST_SAMPLES else []


def _samples(scores: Array) -> int:
    """The number of samples that 95 % of the prompts have."""
    return int(np.quantile(sample_counts(scores), FEW, method="lower"))


def _tied(scores: Array) -> bool:
    """Whether more than 5 % of the prompts have ties for the best score."""
    best = np.sum(scores == np.nanmax(scores, axis=1, keepdims=True), axis=1)
    return bool(np.mean(best > 1) > FEW)


def _verdict(
    scores: Array, parts: list[Array], n: Array, samples: int, boot: PromptBootstrap, marks: bool
) -> np.ndarray:
    kurtosis, error = upper_kurtosis(scores)
    reason = enough_prompts(parts[0], boot)
    if not marks and _tied(scores):
        reason[:] = "ties for the best score: neither a tail nor levels"
    elif kurtosis - MARGIN * error > HEAVY_KURTOSIS:
        reason[:] = (
            f"heavy upper tail (kurtosis {kurtosis:.2f} ± {error:.2f} relative to a Gaussian's): it may become heavier "
            "beyond the samples"
        )
    few = behind(parts[0], boot)
    for j in np.flatnonzero(reason == ""):
        if n[j] > FURTHEST * samples:
            reason[j] = f"n = {n[j]:g} is beyond {FURTHEST} times the {samples} samples"
        elif few[j] < FEWEST_BEHIND:
            reason[j] = f"only {few[j]:.1f} prompts carry the spread of the gain (needs {FEWEST_BEHIND:g})"
    return reason


def pareto(n: Array, shape: float) -> Array:
    """c(n) of the generalised Pareto family with index `shape` < 1."""
    if abs(shape) < 1e-8:
        return np.asarray(scipy.special.digamma(n + 1.0) + np.euler_gamma)
    gammaln = scipy.special.gammaln
    return np.asarray(np.expm1(gammaln(n + 1.0) - gammaln(n + 1.0 - shape) + gammaln(1.0 - shape)) / shape)


@functools.cache
def _quadrature() -> tuple[Array, Array]:
    """Nodes and weights on [-1/2, 1/2]."""
    nodes, weights = scipy.special.roots_legendre(200)
    return nodes / 2, weights / 2


def weibull(n: Array, shape: float) -> Array:
    """c(n) of the generalised Weibull family: the mean of (y^shape - 1) / shape, y the largest of n exponentials."""
    nodes, weights = _quadrature()
    s = (nodes + 0.5)[:, None]
    upper = s * s * (3.0 - 2.0 * s)  # dense at both ends of the distribution function of the maximum
    y = -np.log(-np.expm1(np.log(upper) / n))
    value = np.log(y) if abs(shape) < 1e-8 else np.expm1(shape * np.log(y)) / shape
    return np.asarray((weights[:, None] * 6.0 * s * (1.0 - s) * value).sum(axis=0))


@dataclass(frozen=True)
class Family:
    """A family of tails.

    Attributes:
        mean: c(n) at a shape.
        lowest, largest: the range of shapes.
    """

    mean: Callable[[Array, float], Array]
    lowest: float
    largest: float


FAMILIES = (Family(pareto, -6.0, 0.9), Family(weibull, -1.8, 4.0))


def extrapolated(scores: Array, samples: int, n: Array, family: Family) -> Array:
    """Contributions (P, N) to the gain of best-of-n from a family whose shape all prompts share.

    With steps d1 and d2 from M/16 to M/4 to M draws, the prediction is the gain at M plus h d2. Here h depends on the
    shape, thus on the ratio of the mean steps; its derivative carries the error of the ratio.
    """
    at = np.array([samples // 16, samples // 4, samples])
    mean = np.nanmean(scores, axis=1, keepdims=True)
    gain = best_of_n_means(scores, scores - mean, at)
    first, second = gain[:, 1] - gain[:, 0], gain[:, 2] - gain[:, 1]
    d1, d2 = float(first.mean()), float(second.mean())
    if not d1 > 0:  # constant rewards
        return np.repeat(gain[:, 2:], len(n), axis=1)
    ratio = d2 / d1
    ends = [_ratio(family, at, shape) for shape in (family.lowest, family.largest)]
    inside = float(np.clip(ratio, ends[0] + 2 * STEP, ends[1] - 2 * STEP))
    low, middle, high = (_step(family, at, n, inside + off) for off in (-STEP, 0.0, STEP))
    slope = (high - low) / (2 * STEP) if inside == ratio else np.zeros(len(n))
    influence = (second - ratio * first) / d1
    return np.asarray(gain[:, 2:] + second[:, None] * middle + d2 * influence[:, None] * slope)


def _ratio(family: Family, at: np.ndarray, shape: float) -> float:
    c = family.mean(at.astype(np.float64), shape)
    return float((c[2] - c[1]) / (c[1] - c[0]))


def _step(family: Family, at: np.ndarray, n: Array, ratio: float) -> Array:
    """(c(n) - c(M)) / (c(M) - c(M/4)) of the shape with this ratio of steps."""
    least, most = family.lowest, family.largest
    shape = scipy.optimize.brentq(lambda each: _ratio(family, at, each) - ratio, least, most, xtol=1e-9)
    c = family.mean(np.concatenate([at, n]), shape)
    return np.asarray((c[3:] - c[2]) / (c[2] - c[1]))


def on_levels(scores: Array, levels: Array, n: Array) -> Array:
    """Contributions (P, N) to the gain of best-of-n of scores on levels: beta laws of the probability of each level.

    A prompt contributes the posterior mean of 1 - (1 - p)^n, and its influence on the two parameters of the law.
    """
    counts = sample_counts(scores).astype(np.float64)
    gain = -np.nanmean(scores - levels[0], axis=1)[:, None] + np.zeros(len(n))
    for below, value in itertools.pairwise(levels):
        hits = np.sum(scores >= value, axis=1).astype(np.float64)
        gain += (value - below) * _reached(hits, counts, n)
    return gain


def _reached(hits: Array, counts: Array, n: Array) -> Array:
    """Contributions (P, N) to E 1 - (1 - p)^n, from hits and samples of each prompt."""

    def each(point: Array) -> Array:
        a, b = np.exp(point)
        return np.asarray(scipy.special.betaln(a + hits, b + counts - hits) - scipy.special.betaln(a, b))

    def mean(point: Array) -> Array:
        a, b = np.exp(point)
        after = scipy.special.betaln((a + hits)[:, None], (b + counts - hits)[:, None] + n)
        return np.asarray(-np.expm1(after - scipy.special.betaln(a + hits, b + counts - hits)[:, None]))

    rate = float(np.clip(hits.sum() / counts.sum(), 1e-6, 1 - 1e-6))
    start = np.log([max(rate, 1e-3), max(1 - rate, 1e-3)])
    # A weak prior on the logarithms (s.d. 3 around a sum of 1) keeps the law proper where all prompts are alike.
    found = scipy.optimize.minimize(lambda p: -each(p).sum() + ((p / 6.0) ** 2).sum(), start, method="BFGS").x
    step = 1e-3 * np.eye(2)
    score = np.stack([(each(found + s) - each(found - s)) / 2e-3 for s in step], axis=1)  # (P, 2)
    slope = np.stack([(mean(found + s) - mean(found - s)).mean(axis=0) / 2e-3 for s in step])  # (2, N)
    bend = np.empty((2, 2))
    for i, one in enumerate(step):
        for j, other in enumerate(step):
            ways = each(found + one + other) - each(found + one - other) - each(found - one + other)
            bend[i, j] = (ways + each(found - one - other)).mean() / 4e-6
    inverse = np.linalg.pinv(bend, rcond=1e-6)
    return np.asarray(mean(found) - (score - score.mean(axis=0)) @ inverse @ slope)

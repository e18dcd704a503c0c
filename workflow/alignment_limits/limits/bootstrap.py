"""Intervals from resampling prompts, or clusters of dependent prompts. Samples of different prompts are never pooled.

Every estimate here is a mean, or a ratio of means, of per-prompt contributions. So all replicates of all columns are
one matrix product: (replicates, units) counts times (units, columns). A unit is a prompt, or the sum over the prompts
of a cluster.

Multinomial replicates fail where almost all units have the same value and a few another (constant prompts, lone ties).
With one such unit among 64, replicates contain it 0 to 3 times; but a rate of 5 % gives one or none in one study of
six. The mean is then the common value plus a sum over the few units. If these are equal, this is the case of Clopper
and Pearson. So units get Dirichlet weights. One further unit is added for the upper and one for the lower end, as far
off as an unseen unit may be (Gaffke's bound of a mean). With equal units at the end of the support, the ends are
exactly Clopper and Pearson's.
"""

from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, check_clusters, check_keys
from alignment_limits.errors import EstimateError

UNSEEN = 2.0  # times the furthest unit, within the support; graded ties cover in 85 to 91 % with 1.0, 88 to 97 with 2.0


def lone_interval(
    influence: Array, level: float, *, replicates: int, seed: int, support: tuple[float, float]
) -> tuple[float, float]:
    """Ends of an interval of the mean, relative to the estimate.

    Args:
        influence: (units,) contribution of each to the estimate, with mean 0.
        level: of the interval.
        replicates: number of draws.
        seed: of the draws.
        support: least and largest value that a unit's influence can have.
    """
    common = float(np.median(influence))
    away = influence - common
    few = away[np.abs(away) > 1e-9 * np.abs(away).max(initial=0.0)]
    if not len(few):
        return 0.0, 0.0
    rng = np.random.default_rng((seed, 1))
    weights, more = rng.standard_exponential((replicates, len(few))), rng.standard_exponential(replicates)
    total = weights.sum(axis=1) + more + rng.gamma(max(len(influence) - len(few), 1e-9), size=replicates)
    lowest = max(UNSEEN * min(float(few.min()), 0.0), support[0] - common)
    highest = min(UNSEEN * max(float(few.max()), 0.0), support[1] - common)
    tail = (1 - level) / 2
    low = common + np.quantile((weights @ few + more * lowest) / total, tail)
    high = common + np.quantile((weights @ few + more * highest) / total, 1 - tail)
    return float(min(low, 0.0)), float(max(high, 0.0))


Interval = Literal["studentised", "percentile"]
LEFT_SPREAD = 1e-3  # variance left without the 4 units that carry most (2% of replicates miss all of them)
BATCH = 65_536  # draws at once: they fit in the cache
MOST_UNITS = 5000  # above it a mean over prompts is normal to three digits, and counts need too much memory


class PromptBootstrap:
    """Seeded multinomial resampling of prompts, shared by all columns of a study, so comparisons are paired.

    Args:
        prompts: their number P.
        replicates: number of resampled studies. Above 5,000 units intervals are normal (no resampling).
        seed: of the draws.
        level: confidence level of the intervals.
        method: "studentised" (default; second-order right for skewed contributions) or "percentile".
        keys: integers (P,) that name the prompts. Draws follow their order, so that intervals do not depend on the
            order of the prompts; default: row numbers.
        clusters: labels (P,); prompts with the same label are drawn together; default: every prompt separately.

    Raises:
        EstimateError: settings that cannot give an interval, or keys or clusters of other prompts.

    Example:
        >>> each = np.random.default_rng(0).normal(size=(400, 1))
        >>> low, high = PromptBootstrap(400).interval(each)
        >>> round(float(high[0] - low[0]), 1)  # twice 1.96 / √400
        0.2

    References:
        docs/theory.md, "Intervals and reliability".
    """

    def __init__(
        self,
        prompts: int,
        *,
        replicates: int = 2000,
        seed: int = 0,
        level: float = 0.95,
        method: Interval = "studentised",
        keys: ArrayLike | None = None,
        clusters: ArrayLike | None = None,
    ) -> None:
        if replicates < 100:
            raise EstimateError(f"{replicates} bootstrap replicates cannot give an interval; use 100 or more.")
        if not 0.5 <= level < 1:
            raise EstimateError(f"Confidence level {level} must be at least 0.5 and below 1.")
        self.prompts, self.level, self.method, self.seed = prompts, level, method, seed
        self._order = None if keys is None else np.argsort(check_keys(keys, prompts), kind="stable")
        self._starts: np.ndarray | None = None
        self.units = prompts
        if clusters is not None:
            order = np.arange(prompts) if self._order is None else self._order
            labels, count = check_clusters(clusters, prompts)
            unit = check_clusters(labels[order], prompts)[0]  # numbered in the order of keys
            if count < prompts:
                together = np.argsort(unit, kind="stable")
                self._order, self.units = order[together], count
                self._starts = np.searchsorted(unit[together], np.arange(count))
        self.counts: Array | None = None
        if 1 < self.units <= MOST_UNITS:
            rng = np.random.default_rng(seed)
            counts = np.empty((replicates, self.units))
            step = max(1, BATCH // self.units)
            for start in range(0, replicates, step):
                part = counts[start : start + step]
                drawn = rng.integers(0, self.units, part.shape) + self.units * np.arange(len(part))[:, None]
                part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
            self.counts = counts

    @property
    def clusters(self) -> int | None:
        """The number of clusters; None if every prompt is drawn separately."""
        return None if self._starts is None else self.units

    def sums(self, values: Array) -> Array:
        """Per-prompt values (P, ...) in the order of the draws, summed over each cluster: (units, ...)."""
        ordered = values if self._order is None else values[self._order]
        return ordered if self._starts is None else np.asarray(np.add.reduceat(ordered, self._starts, axis=0))

    def replicates(self, values: Array) -> Array:
        """Means of each replicate: (P, ...) -> (R, ...)."""
        if self.counts is None:
            raise EstimateError(f"There are no replicates for {self.units} prompts; only for 2 to {MOST_UNITS}.")
        flat = self.counts @ self.sums(values).reshape(self.units, -1)
        prompts = self.counts @ self.sums(np.ones(self.prompts))
        return np.asarray((flat / prompts[:, None]).reshape(len(flat), *values.shape[1:]))

    def interval(self, values: Array, support: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """Interval of the mean over prompts.

        Args:
            values: contributions (P, K).
            support: least and largest value (K,) that a prompt may have, where known.

        Returns:
            Low and high (K,); NaN in, NaN out.
        """
        return self.ratio(values, np.ones_like(values), support)

    def ratio(self, above: Array, below: Array, support: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """Interval of mean(above) / mean(below), both (P, K); support as for `interval`."""
        shape = above.shape[1:]
        above, below = (self.sums(each).reshape(self.units, -1) for each in (above, below))
        known = ~(np.isnan(above).any(axis=0) | np.isnan(below).any(axis=0)) & (below.mean(axis=0) != 0)
        low, high = np.full(len(known), np.nan), np.full(len(known), np.nan)
        if self.units > 1 and known.any():
            # Powers of two, as squares of 1e-200 would be 0.
            unit, base = (_column_units(each[:, known]) for each in (above, below))
            ends = None if support is None or self.clusters else (support[0][known] / unit, support[1][known] / unit)
            found = self._ratio(above[:, known] / unit, below[:, known] / base, ends)
            low[known], high[known] = (end * (unit / base) for end in found)
        return low.reshape(shape), high.reshape(shape)

    def _ratio(self, above: Array, below: Array, support: tuple[Array, Array] | None) -> tuple[Array, Array]:
        n = self.units
        scale = below.mean(axis=0)
        estimate = above.mean(axis=0) / scale
        influence = (above - estimate * below) / scale
        error = np.sqrt((influence**2).sum(axis=0) / (n * (n - 1)))
        if self.counts is None:
            z = normal_quantile(self.level)
            return estimate - z * error, estimate + z * error
        tail = np.array([(1 - self.level) / 2, (1 + self.level) / 2])
        weights = self.counts / n
        if np.all(below == 1.0):
            replicate = estimate + weights @ influence
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                replicate = (weights @ above) / (weights @ below)
        if self.method == "percentile":
            low, high = np.nanquantile(replicate, tail, axis=0)
            return low, high
        # sum of squares of (influence - mean) in each replicate, from two products.
        squares = weights @ influence**2 - (weights @ influence) ** 2
        spread = np.sqrt(np.maximum(squares, 0.0) / (n - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (replicate - estimate) / spread
        # A replicate of identical contributions has no spread and no t.
        t = np.where(spread > 1e-12 * np.maximum(error, 1e-300), t, np.nan)
        degenerate = np.isnan(t).all(axis=0) | (error == 0)
        t[:, degenerate] = 0.0
        low_t, high_t = np.nanquantile(t, tail, axis=0)
        less, more = _one_unit_more(influence)
        low, high = estimate - high_t * error + less, estimate - low_t * error + more
        # If a few units carry all the spread (such as lone ties among rewards), replicates without them have
        # none, and t can be arbitrarily large.
        alone = _left_without_the_largest(influence) < LEFT_SPREAD
        for column in np.flatnonzero(alone):
            ends = [np.inf * sign if support is None else support[i][column] for i, sign in enumerate((-1, 1))]
            # A unit's influence at either end of its support.
            reach = [float(end - estimate[column]) for end in ends]
            below_it, above_it = lone_interval(
                influence[:, column],
                self.level,
                replicates=len(self.counts),
                seed=self.seed,
                support=(min(reach[0], 0.0), max(reach[1], 0.0)),
            )
            low[column], high[column] = estimate[column] + below_it, estimate[column] + above_it
        return low, high


def _column_units(values: Array) -> Array:
    """A power of two near the maximum of each column (K,) if that is beyond 2^64 or below 2^-64, else 1."""
    exponent = np.frexp(np.abs(values).max(axis=0))[1]
    return np.where(np.abs(exponent) > 64, np.ldexp(1.0, np.clip(exponent, -1000, 1000)), 1.0)


def _one_unit_more(influence: Array) -> tuple[Array, Array]:
    """Change of each mean (K,) by one further unit, as far off as the furthest: downwards <= 0, upwards >= 0.

    Only towards a long tail, and in proportion to the skewness, from 1 (no change) to 2 (the full change). A sample
    this skewed often lacks the units that matter. Means of 64 lognormal spreads (log-sd 1) cover in 90 % of studies
    without this term, and in 94 % with it.
    """
    spread = np.sqrt((influence**2).mean(axis=0))
    skewness = ((influence / np.where(spread > 0, spread, 1.0)) ** 3).mean(axis=0)
    weight = np.clip(np.abs(skewness) - 1, 0, 1) / len(influence)
    return (
        np.where(skewness < 0, weight * influence.min(axis=0), 0.0),
        np.where(skewness > 0, weight * influence.max(axis=0), 0.0),
    )


def _left_without_the_largest(influence: Array, few: int = 4) -> Array:
    """Variance without the `few` units furthest from the median, relative to that of all (1 if there is none)."""
    distance = np.abs(influence - np.median(influence, axis=0))
    kept = np.take_along_axis(influence, np.argsort(distance, axis=0)[: max(len(influence) - few, 1)], axis=0)
    total = influence.var(axis=0)
    return np.asarray(np.where(total > 0, kept.var(axis=0) / np.where(total > 0, total, 1.0), 1.0))


def student_quantile(level: float, freedom: int) -> float:
    """Two-sided quantile of Student's t; NaN without a degree of freedom."""
    return float(scipy.special.stdtrit(freedom, (1 + level) / 2)) if freedom > 0 else float("nan")


def student_quantiles(level: float, freedom: Array) -> Array:
    """The same for several degrees of freedom, which need not be whole."""
    return np.asarray(scipy.special.stdtrit(freedom, (1 + level) / 2))


def normal_quantile(level: float) -> float:
    """Two-sided quantile of the normal law."""
    return float(scipy.special.ndtri((1 + level) / 2))


LOPSIDED = 0.25  # skewness of a mean above which it may lack rare units; lognormal spreads of log-sd 0.6: 0.2 to 0.6
BACKWARDS = 0.25  # of the bias that a correction at a fixed beta may leave, on the other side
FURTHER = 20.0, 2.5  # further units for each unit of skewness above it, and at most


def no_shorter_than_students(boot: PromptBootstrap, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """An interval of the mean of (P, K), widened on each side to Student's if that is longer."""
    mean, error = _mean_and_error(boot, values)
    reach = student_quantile(boot.level, boot.units - 1) * error
    return np.minimum(low, mean - reach), np.maximum(high, mean + reach)


def no_lower_than_of_a_variance(boot: PromptBootstrap, values: Array, high: Array) -> Array:
    """Upper ends (K,) of intervals of means of (P, K) that behave as a variance between units does, raised if too low.

    Units that happen to be alike show too small a variance, and too small an error of it. Contributions to a variance
    have the law of χ² with one degree of freedom, of skewness √8 and kurtosis 15. So the error grows with the estimate
    at the rate b = √8 / (2 √n), and is known with 2 n / 14 degrees of freedom. Where the error is linear in the value,
    log(1 + b · value / error) has a constant one, so the end is (e^{t b} - 1) / b errors above the mean.
    """
    mean, error = _mean_and_error(boot, values)
    rate = np.sqrt(8.0 / boot.units) / 2
    t = float(student_quantiles(boot.level, np.array(max(boot.units / 7, 2.0))))
    return np.asarray(np.fmax(high, mean + error * np.expm1(t * rate) / rate))


def _mean_and_error(boot: PromptBootstrap, values: Array) -> tuple[Array, Array]:
    """Mean of (P, K) over the prompts that have a value, and its standard error."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    away = boot.sums(np.where(known, values - mean, 0.0))
    n = boot.units
    return mean, np.sqrt((away**2).sum(axis=0) * n / max(n - 1, 1)) / np.maximum(count, 1)


def limit_interval(boot: PromptBootstrap, values: Array, left: Array) -> tuple[Array, Array]:
    """Interval of a corrected limit: the mean of (P, ...), with a bound of its remaining bias.

    Three parts make it longer than the bootstrap's, so that no row needs to be refused because few units carry it. Such
    a refusal would select studies: those that missed the wide prompts look alike, and are too low. (1) No side is
    shorter than Student's, with Satterthwaite's degrees of freedom for units of this kurtosis. (2) If the mean itself
    is skewed, units like the furthest may not have been drawn. The side of the long tail then gets up to 2.5 further
    units, each as far off as the furthest: 20 times the skewness of the mean above 0.25. (3) The bound of the bias,
    `left` (...), is added in quadrature.
    """
    flat, bound = values.reshape(len(values), -1), left.ravel()
    units = np.where(np.isfinite(flat).all(axis=0), _column_units(np.nan_to_num(flat)), 1.0)
    flat = flat / units  # squares of 1e-200 would be 0
    low, high = boot.interval(flat)
    mean = flat.mean(axis=0)
    low, high = no_shorter(boot.level, mean, low, high, boot.sums(flat - mean) / len(flat))
    low, high = (end * units for end in widened(mean, low, high, bound / units))
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def no_shorter(level: float, mean: Array, low: Array, high: Array, away: Array) -> tuple[Array, Array]:
    """Intervals of means (K,) with the first two parts of `limit_interval`, from what each unit adds to the mean more
    than the average unit does (n, K).
    """
    n = len(away)
    size = np.abs(away).max(axis=0)
    unit = away / np.where(size > 0, size, 1.0)
    second, third, fourth = ((unit**power).sum(axis=0) for power in (2, 3, 4))
    some = np.where(second > 0, second, 1.0)
    freedom = np.clip(2 * n / np.maximum(n * fourth / some**2 - 1, 1e-9), 2, max(n - 1, 2))
    reach = student_quantiles(level, freedom) * size * np.sqrt(second * n / max(n - 1, 1))
    rate, most = FURTHER
    more = np.clip(rate * (np.abs(third) / some**1.5 - LOPSIDED), 0, most)
    low = np.minimum(low, mean - reach) + np.where(third < 0, more * away.min(axis=0), 0.0)
    return low, np.maximum(high, mean + reach) + np.where(third > 0, more * away.max(axis=0), 0.0)


def interval_at_beta(boot: PromptBootstrap, values: Array, left: Array) -> tuple[Array, Array]:
    """Interval of the mean of values (P, ...) that were corrected at a fixed beta, with the bias `left` of each prompt.

    In the direction of the mean of `left` it ends where the interval of values + left ends: prompts with wide spreads
    are too low the most, so that their own values hide how skewed the mean is. On the other side a quarter of the mean
    is added in quadrature.
    """
    bias = left.mean(axis=0)
    low, high = limit_interval(boot, values, BACKWARDS * np.abs(bias))
    least, most = limit_interval(boot, values + left, np.zeros(bias.shape))
    return np.where(bias < 0, np.fmin(low, least), low), np.where(bias > 0, np.fmax(high, most), high)


def widened(value: Array, low: Array, high: Array, left: Array) -> tuple[Array, Array]:
    """An interval with a bound of the remaining bias added in quadrature on each side."""
    return value - np.hypot(value - low, left), value + np.hypot(high - value, left)

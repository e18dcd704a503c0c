"""Bias correction at a fixed KL: extrapolate from all samples, halves and quarters to infinitely many.

With M samples per prompt the estimated limit is too low by about c M^-a: a = 1 for light tails, less for heavy
ones. The limit is computed from all samples (F), and from disjoint halves (H) and quarters (Q) of each prompt.
The decrements d1 = F - H and d2 = H - Q show both c and a: their ratio rho = d2/d1 is 2^a. The corrected value
is F + g(rho) d1 with

    g = 1/(rho - 1)      for rho < 2   (Aitken: the geometric sum d1/rho + d1/rho^2 + ...),
    g = (5 - rho)/3      for rho >= 2  (Richardson in 1/M and 1/M^2: 8/3 F - 2 H + 1/3 Q; both agree at rho
    = 2).

rho is estimated from the optimized reward and used for every evaluated one, because the bias depends mainly on
the reward that tilts. The correction is linearised, so that each prompt's contribution includes the uncertainty
of rho. This is our choice (docs/theory.md, "Estimates at a fixed KL"). benchmarks/limits_coverage.py compares it
with the plug-in, 2F - H and the jackknife.

Moments of each level are averaged over random splits and blocks. Between the grid's temperatures they are interpolated
by cubic Hermite splines in s = sqrt(KL), as a limit is nearly linear in s near the origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array
from alignment_limits.limits.samples import Quartered
from alignment_limits.limits.tilt import LEVELS, block_weights, by_level, moments_of

RATIO_FLOOR = 1.25  # a = 0.32: below this the samples do not determine the limit of the sum
RATIO_CEILING = 5.0  # above it the quarters are too small to be informative; then g = 0
SLOW, POWER = 5.0, 1.5  # at a fixed beta the bias that remains falls with this power of the effective sample size
MOST_LEFT = 0.75  # bound `missed` at a fixed KL, as a share of an interval's width; the error is a fifth of the bound


@dataclass(frozen=True)
class Correction:
    """The correction of the gain at K budgets.

    Attributes:
        ratio: ρ (K,).
        ratio_error: its standard error over prompts.
        factor: g (K,).
        slope: dg/dρ (K,).
    """

    ratio: Array
    ratio_error: Array
    factor: Array
    slope: Array

    def apply(self, levels: Array) -> Array:
        """Extrapolate anything (3, ..., K) by the same factor: F + g (F - H), or F where H is missing."""
        step = levels[0] - levels[1]
        return levels[0] + np.where(np.isnan(step), 0.0, self.factor * step)


def decrements(first: Array, second: Array, scale: Array) -> tuple[np.ndarray, Array, Array, Array]:
    """usable, ratio, g and dg/dratio for mean decrements (K,); rho = 2 where they show nothing."""
    usable = np.isfinite(first) & np.isfinite(second) & (first > 1e-9 * np.abs(scale))
    ratio = np.where(usable, second / np.where(usable, first, 1.0), 2.0)
    held = np.clip(ratio, RATIO_FLOOR, RATIO_CEILING)
    factor = np.where(held < 2.0, 1.0 / (held - 1.0), (5.0 - held) / 3.0)
    slope = np.where(held < 2.0, -1.0 / (held - 1.0) ** 2, -1.0 / 3.0)
    return usable, ratio, factor, np.where(usable & (held == ratio), slope, 0.0)


def extrapolate_at_beta(levels: Array) -> Array:
    """Correct quantities (3, ...) at a fixed beta by Richardson in 1/M and 1/M^2: 8/3 F - 2 H + 1/3 Q.

    The coefficients are fixed. So identities between KL, reverse KL and gain still hold. Where weights are heavy, the
    bias falls more slowly than 1/M, and a part of it remains (`left_at_beta`).
    """
    full, halves, quarters = levels
    first, second = full - halves, halves - quarters
    return np.asarray(full + (5.0 * first - second) / 3.0)


def smallest_ess(ess: Array, share: Array) -> Array:
    """Effective sample sizes (P, K) as one number for each point (K,): ESS^-1.5 is averaged over prompts by their share
    (P,). So prompts with few effective samples count most, which a median would hide. Inf where no prompt has a share.
    """
    mean = share / (share.sum() or 1.0) @ np.where(np.isnan(ess), 0.0, np.fmax(ess, 1.0) ** -POWER)
    with np.errstate(divide="ignore"):
        return np.asarray(mean ** (-1 / POWER))


def slowness(ess: Array, samples: ArrayLike) -> Array:
    """How much of its bias the correction at a fixed beta leaves, in units of the difference between levels.

    5 m^(1/3) / ESS^1.5. In Gaussian, uniform, rubric and Bernoulli worlds of 64 samples up to half of log M the factor
    that is needed is at most 2 for gains and KLs; with spreads of log-sd 0.6, or for gaps, it is 2 to 5; with 256
    samples it is the same.

    Args:
        ess: effective sample size (P, K), NaN for excluded prompts.
        samples: number of samples of each prompt (P,).
    """
    return np.asarray(SLOW * np.cbrt(samples)[:, None] * np.fmax(ess, 1.0) ** -POWER)


def left_at_beta(levels: Array, ess: Array, samples: ArrayLike) -> Array:
    """What `extrapolate_at_beta` may leave of the bias of quantities (3, P, K, V), for each prompt (P, K, V).

    `slowness` times the larger of the two differences between levels, as the parts of a gap or of gold may cancel in
    one of them. The true value is nearly always beyond the estimate, in the direction of the mean.
    """
    first, second = levels[0] - levels[1], levels[1] - levels[2]
    larger = np.abs(first.mean(axis=0)) > np.abs(second.mean(axis=0))
    left = slowness(ess, samples)[..., None] * np.where(larger, first, second)
    known = np.isfinite(ess)
    if not known.all():
        left = np.where(known[..., None], left, left[known.all(axis=1)].mean(axis=0))
    return np.asarray(left)


def extrapolate(levels: Array) -> tuple[Array, Correction]:
    """Corrected per-prompt contributions from (3, P, K, V) or (3, P, K); reward 0 sets the ratio.

    Without quarters (NaN) the factor is 1 (2F - H); without halves it is 0 (plug-in).
    """
    full, halves, quarters = levels if levels.ndim == 4 else levels[..., None]
    prompts = len(full)
    first, second = full - halves, halves - quarters
    d1, d2 = first[..., 0].mean(axis=0), second[..., 0].mean(axis=0)
    usable, ratio, factor, slope = decrements(d1, d2, full[..., 0].mean(axis=0))
    safe = np.where(usable, d1, 1.0)
    factor = np.where(np.isnan(d1), 0.0, factor)
    # Influence of each prompt on rho, summing to 0.
    influence = np.where(usable, (second[..., 0] - ratio * first[..., 0]) / safe, 0.0)
    with np.errstate(invalid="ignore"):
        error = influence.std(axis=0) / np.sqrt(prompts)
        step = first.mean(axis=0)  # (K, V)
    gained = np.where(np.isnan(first), 0.0, factor[:, None] * first)
    gained += np.where(np.isnan(step), 0.0, step) * (slope * influence)[..., None]
    values = full + gained
    return (values if levels.ndim == 4 else values[..., 0]), Correction(ratio, error, factor, slope)


def missed(levels: Array, factor: Array) -> Array:
    """A bound of the bias that remains after a correction F + g (F - H), from levels (3, ...); 0 if a level is missing.

    It is the larger of two numbers: the distance from Richardson's correction for biases in 1/M and 1/M^2,
    F + (5 (F - H) - (H - Q)) / 3, and that correction's second-order term, |2 (F - H) - (H - Q)| / 3. In simulated
    worlds it is above the error of all reliable rows.
    """
    first, second = levels[0] - levels[1], levels[1] - levels[2]
    apart = np.abs(factor * first - (5.0 * first - second) / 3.0)
    return np.asarray(np.nan_to_num(np.maximum(apart, np.abs(2.0 * first - second) / 3.0)))


def remaining(levels: Array, factor: Array, ess: Array) -> Array:
    """A bound (K, V) of the bias of corrected gains, for their intervals: `missed` times 1/4 + 4 / ESS.

    The error is about a fifth of `missed` with 10 effective samples or more, and 1.2 times it with 2 to 4 (prompts of
    different spreads). It is larger in the studies that are too low for other reasons too. If quarters do not reach a
    KL, the bound is the correction itself.

    Args:
        levels: gains at all samples, halves and quarters (3, K, V).
        factor: of the correction (K,).
        ess: effective sample size (K,), the median over prompts.
    """
    step = levels[0] - levels[1]
    left = np.where(np.isnan(levels[2]) & ~np.isnan(step), np.abs(step), missed(levels, factor[:, None]))
    return np.asarray((0.25 + 4.0 / np.fmax(ess, 1.0))[:, None] * left)


def _basis(t: Array) -> tuple[Array, Array, Array, Array]:
    return 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3, t**3 - t**2


def solve(inverse: Array, kl: Array, rate: Array, kappa: Array, *, start: float) -> Array:
    """Invert one increasing curve: λ at which KL = κ, interpolated as a function of s = √KL, dλ/ds = 2 s / rate.

    Args:
        inverse, kl, rate: nodes λ > 0, KL and dKL/dλ, (L,) each.
        kappa: κ (K,).
        start: Var(r) at λ = 0, where KL = Var λ² / 2.

    Returns:
        λ (K,); NaN beyond the last node.
    """
    s = np.sqrt(np.maximum(kl, 0.0))
    # A saturated tail has no slope; only increasing nodes can be inverted.
    rises = np.concatenate([[s[0] > 0], np.diff(s) > 1e-9 * max(s[-1], 1e-300)]) & (rate > 0)
    rises &= np.logical_and.accumulate(rises)
    if not rises.any() or start <= 0:
        return np.where(kappa > 0, np.nan, 0.0)
    x = np.concatenate([[0.0], s[rises]])
    y = np.concatenate([[0.0], inverse[rises]])
    dy = np.concatenate([[np.sqrt(2.0 / start)], 2.0 * s[rises] / rate[rises]])
    target = np.sqrt(kappa)
    j = np.clip(np.searchsorted(x, target, side="right") - 1, 0, len(x) - 2)
    width = x[j + 1] - x[j]
    t = (target - x[j]) / width
    # Fritsch-Carlson limit: keeps the interpolant monotone where the curve bends sharply near saturation.
    secant = (y[j + 1] - y[j]) / width
    h00, h10, h01, h11 = _basis(t)
    value = h00 * y[j] + h10 * width * np.minimum(dy[j], 3 * secant)
    value += h01 * y[j + 1] + h11 * width * np.minimum(dy[j + 1], 3 * secant)
    return np.where(target <= x[-1], np.maximum(value, 1e-12), np.nan)


def interpolate(kl: Array, rate: Array, values: Array, rates: Array, kappa: Array) -> Array:
    """Read curves X(λ) at KL = κ for each block, interpolated as functions of s = √KL; dX/ds = 2 s dX/dKL.

    Args:
        kl, rate: KL and dKL/dλ (P, B, L).
        values, rates: X and dX/dλ (P, V, B, L); X = 0 at the origin.
        kappa: κ (P, K).

    Returns:
        (P, V, B, K); beyond a block's last node, its last value.
    """
    s = np.sqrt(np.maximum(kl, 0.0))
    s = np.maximum.accumulate(s, axis=-1)
    # On a saturated tail both rates are rounding errors: the curve is flat there.
    alive = rate > 1e-9 * np.maximum(rate.max(axis=-1, keepdims=True), 1e-290)
    slope = np.where(alive[:, None], 2.0 * s[:, None] * rates / np.where(alive, rate, 1.0)[:, None], 0.0)
    origin = slope[..., :1]  # the curve is linear at the start: its first slope is used at 0
    x = np.concatenate([np.zeros_like(s[..., :1]), s], axis=-1)
    y = np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)
    dy = np.concatenate([origin, slope], axis=-1)
    target = np.sqrt(kappa)[:, None, :]
    last = x.shape[-1] - 1
    j = np.clip(np.sum(x[..., :, None] <= target[..., None, :], axis=2) - 1, 0, last - 1)  # (P, B, K)
    x0, x1 = np.take_along_axis(x, j, axis=-1), np.take_along_axis(x, j + 1, axis=-1)
    width = np.where(x1 > x0, x1 - x0, 1.0)
    t = np.clip((np.broadcast_to(target, j.shape) - x0) / width, 0.0, 1.0)[:, None]
    width = width[:, None]
    jj = np.broadcast_to(j[:, None], (*y.shape[:3], j.shape[-1]))
    h00, h10, h01, h11 = _basis(t)
    out = h00 * np.take_along_axis(y, jj, -1) + h10 * width * np.take_along_axis(dy, jj, -1)
    return np.asarray(out + h01 * np.take_along_axis(y, jj + 1, -1) + h11 * width * np.take_along_axis(dy, jj + 1, -1))


FEW_CELLS = 2**16  # samples of all splits, below which the work is mostly NumPy's calls
AT_ONCE = 4096  # prompts x lambdas at once, so that their moments fit in the cache


@dataclass(frozen=True)
class LevelMoments:
    """Moments (P, L, 3) at all three levels, or (P, L) at one.

    Attributes:
        kl, variance, reverse, mean: KL(π_β‖π₀), Var r under the tilt, KL(π₀‖π_β), and the optimized reward's gain.
        gains, slopes: (P, L, V, 3) or (P, L, V), and their d/dλ; index 0 of V is the optimized reward.
        ess: (P, L), of all samples.
        share: (P,), each prompt's part in the KL (of `CorrectedCurve.moments` only).
    """

    kl: Array
    variance: Array
    reverse: Array
    mean: Array
    gains: Array
    slopes: Array
    ess: Array
    share: Array = field(default_factory=lambda: np.empty(0))


def level_moments(splits: Sequence[Quartered], inverse: Array, level: int | None = None) -> LevelMoments:
    """Averages at lambdas (L,), at every level or at one (0 all samples, 1 halves, 2 quarters)."""
    total: list[Array] | None = None
    ess = np.empty(0)
    for count, parts in together(splits):
        weights = block_weights(parts.sizes)
        m = moments_of(parts, inverse, level)
        gains = np.concatenate([m.reward[:, :, None], m.gain], axis=2)
        slopes = np.concatenate([m.variance[:, :, None], m.covariance], axis=2)
        arrays = [by_level(a, weights, level) for a in (m.kl, m.variance, m.log_mean_exp, m.reward, gains, slopes)]
        arrays = [sum_of_splits(a, count) for a in arrays]
        total = arrays if total is None else [a + b for a, b in zip(total, arrays, strict=True)]
        ess = m.ess[-len(m.ess) // count :]
    assert total is not None
    kl, variance, reverse, mean, gains, slopes = (a / len(splits) for a in total)
    return LevelMoments(kl, variance, reverse, mean, gains, slopes, ess)


def spending(splits: Sequence[Quartered], inverse: Array) -> tuple[Array, Array]:
    """Mean over prompts of KL and of Var_w(r) at each level, (L, 3) each. Both are needed to solve for lambda."""
    total = np.zeros((2, len(inverse), LEVELS))
    step = max(1, AT_ONCE // len(inverse))
    for count, parts in together([replace(each, features=each.features[..., :0]) for each in splits]):
        for start in range(0, len(parts.sizes), len(parts.sizes) if count > 1 else step):
            rows = parts if count > 1 else parts.rows(start, start + step)
            m, weights = moments_of(rows, inverse), block_weights(rows.sizes)
            total += np.stack([by_level(a, weights).sum(axis=0) for a in (m.kl, m.variance)])
    kl, variance = total / (len(splits) * len(splits[0].sizes))
    return kl, variance


def together(splits: Sequence[Quartered]) -> list[tuple[int, Quartered]]:
    """Few samples of several splits as one, of which NumPy makes all moments at once; and how many splits it is."""
    if len(splits) * splits[0].rewards.size > FEW_CELLS:
        return [(1, each) for each in splits]
    return [(len(splits), Quartered.joined(splits))]


def sum_of_splits(values: Array, count: int) -> Array:
    """The sum over splits (P, ...) of values (count x P, ...) of `count` splits, one after the other."""
    return values if count == 1 else np.asarray(values.reshape(count, -1, *values.shape[1:]).sum(axis=0))


def solve_levels(splits: Sequence[Quartered], grid: Array, kappa: Array) -> Array:
    """Lambda (3, K) at which each level's mean KL is kappa (K,), by interpolation between nodes (L,); NaN beyond.

    Only nodes around a solution are needed. If there are few budgets, bisection finds them.
    """
    last = len(grid) - 1
    kl, variance = np.full((2, len(grid), LEVELS), np.nan)

    def look(nodes: np.ndarray) -> None:
        kl[nodes], variance[nodes] = spending(splits, grid[nodes])

    few = LEVELS * len(kappa) * np.log2(len(grid)) < len(grid)
    look(np.array([0, last]) if few else np.arange(len(grid)))
    low, high = np.zeros((LEVELS, len(kappa)), dtype=int), np.full((LEVELS, len(kappa)), last)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        unseen = np.unique(middle[np.isnan(kl[middle, 0])])
        if unseen.size:
            look(unseen)
        above = kl[middle, np.arange(LEVELS)[:, None]] > kappa
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    seen = ~np.isnan(kl[:, 0])
    at, kl, variance = grid[seen], kl[seen], variance[seen]
    return np.stack(
        [solve(at, kl[:, i], at * variance[:, i], kappa, start=float(variance[0, i])) for i in range(LEVELS)]
    )

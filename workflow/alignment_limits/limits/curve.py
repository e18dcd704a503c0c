"""The limit at given KL budgets, bias-corrected, as a mean of per-prompt contributions.

Under the average budget kappa (nats per sequence, averaged over prompts), all prompts have one lambda, which
solves mean KL(lambda) = kappa. Under the per-prompt budget every prompt has KL kappa and its own lambda. In both
cases the envelope theorem turns the estimate into a mean over prompts: at the solution lambda^,

    psi_x = X_x(lambda^) + s (kappa - KL_x(lambda^)),   s = dX/dkappa = E Cov_w(v, r) / (lambda E Var_w(r)),

is stationary in lambda^. So a bootstrap of prompts can resample psi_x without solving again (error O(1/P)).
For the optimized reward s = beta, which is dG*/dkappa. Tests compare this with solving again in every replicate.
See docs/theory.md, "Estimates at a fixed KL".
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from alignment_limits.ensembles.scores import Array, check_keys, enough_samples, unit_of, within_prompt_sd
from alignment_limits.errors import EstimateError
from alignment_limits.limits.correction import (
    Correction,
    LevelMoments,
    extrapolate,
    interpolate,
    level_moments,
    solve_levels,
    spending,
)
from alignment_limits.limits.reliability import AVERAGE, PER_PROMPT, Carriers, Verdict, judge
from alignment_limits.limits.samples import Deal, Pool, deal
from alignment_limits.limits.tilt import LEVELS, TiltMoments, block_weights, by_level, moments_of

SPLIT_BUDGET = 1024  # prompts x splits: with few prompts, more random splits make the correction less noisy
MOST_SPLITS = 8
STEEPEST = 4096.0  # largest lambda x sd: beyond it the tilt is concentrated on the best sample
GRID = 48


@dataclass(frozen=True)
class CurvePoints:
    """The curve at K budgets, for V evaluated rewards (index 0 is the optimized reward itself).

    Prompts with too few samples for quarters are excluded: their share is 0, their ess and inverse are NaN, and their
    values are the mean over the others (`CorrectedCurve.every`).

    Attributes:
        kappa: budgets (K,), nats.
        values: (P, K, V), contributions; their mean is the corrected gain, their spread its uncertainty.
        reverse: (P, K), contributions to KL(π₀‖π_β).
        plugin: (P, K), uncorrected contributions to the optimized reward's own gain, whose mean is too low on average.
        levels: gains at all samples, halves and quarters, each (K, V).
        slope: (K, V), dgain/dkl at all samples.
        beta: (K,).
        ess: (P, K).
        inverse: λ of all samples (P, K), for diagnostics.
        reached: (K,), number of levels that reach this budget: 3 = all samples, halves and quarters; 0 = none.
        capped: (K,), share of quarters that end at their own ceiling (per-prompt budget only, else 0).
        share: (P,), each prompt's share of the KL (average budget: its variance, as KL = variance λ² / 2 near 0) or of
            the gain (per-prompt budget: its sd).
        carriers: the number of prompts that must carry the estimate.
        correction: its factors.
    """

    kappa: Array
    values: Array
    reverse: Array
    plugin: Array
    levels: Array
    slope: Array
    beta: Array
    ess: Array
    inverse: Array
    reached: np.ndarray
    capped: Array
    share: Array
    carriers: Carriers
    correction: Correction


def split_count(prompts: int) -> int:
    """Number of random splits for the correction: 8 up to 128 prompts, 1 from 1,024 on."""
    return int(np.clip(-(-SPLIT_BUDGET // prompts), 1, MOST_SPLITS))


class CorrectedCurve:
    """The limit of one optimized reward, which can be read at any budget.

    Args:
        optimized: checked scores (prompts, samples).
        evaluated: further rewards (prompts, samples) whose gain is estimated.
        budget: "average" (one λ for all prompts) or "per-prompt" (each prompt spends the budget).
        seed, keys: seed of the random splits, and the integer that names each prompt; default: its row.
        pool: laws of the samples and their densities, if not all are from the base.
        dealt: the random quarters of another curve of the same samples (its `deal`); default: by this reward's ranks.

    Raises:
        EstimateError: an unknown budget, or a pool of other samples.

    Example:
        >>> curve = CorrectedCurve(np.random.default_rng(0).normal(size=(200, 64)))
        >>> curve.at(np.array([0.5])).values.mean(axis=0).round(2)  # gains (prompts, budgets, rewards)
        array([[0.99]])
    """

    def __init__(
        self,
        optimized: Array,
        evaluated: Sequence[Array] = (),
        *,
        budget: str = "average",
        seed: int = 0,
        keys: np.ndarray | None = None,
        pool: Pool | None = None,
        dealt: Deal | None = None,
    ) -> None:
        if budget not in ("average", "per-prompt"):
            raise EstimateError(f"Unknown budget '{budget}': use 'average' or 'per-prompt'.")
        self.budget = budget
        if pool is not None and pool.law.shape != optimized.shape:
            raise EstimateError(f"The pool has shape {pool.law.shape}, but the scores have shape {optimized.shape}.")
        if pool is not None and (bare := ~np.isnan(optimized) & (pool.law < 0)).any():
            row, column = np.argwhere(bare)[0]
            raise EstimateError(
                f"Sample {column} of prompt {row} has a score and no log-ratio ({bare.sum()} such samples). Give "
                "every sample a log-ratio, or make its score NaN if it is missing at random."
            )
        self.enough = enough_samples(optimized if pool is None else pool.base_only(optimized))
        # If the optimized reward is also evaluated, it needs no further sums.
        own = [np.array_equal(array, optimized, equal_nan=True) for array in evaluated]
        others = [array for array, same in zip(evaluated, own, strict=True) if not same]
        self.seed, self.keys = seed, keys
        names = check_keys(keys, len(optimized))
        if not self.enough.all():
            optimized, others, names = optimized[self.enough], [a[self.enough] for a in others], names[self.enough]
            pool = None if pool is None else pool.rows(self.enough)
        units = [unit_of(array) for array in (optimized, *others)]
        optimized, *others = (
            array if u == 1 else array / u for array, u in zip((optimized, *others), units, strict=True)
        )
        self.units = np.array(units)
        self.prompts = len(optimized)
        base = optimized if pool is None else pool.base_only(optimized)
        self.sd = within_prompt_sd(base)
        self.columns = np.concatenate([[0], np.where(own, 0, np.cumsum(np.logical_not(own)))]).astype(np.int64)
        self.rewards = 1 + len(others)
        splits = split_count(self.prompts)
        self.deal = dealt or deal(optimized, others, keys=names, seed=seed, splits=splits, pool=pool)
        self.splits = self.deal.quarters(optimized, others)
        self.pooled = pool is not None
        spread = np.nanstd(base, axis=1)
        best = np.nanmax(optimized, axis=1, keepdims=True)
        flat = best[:, 0] == np.nanmin(optimized, axis=1)
        self.known = np.sum(optimized == best, axis=1, keepdims=True) > 1  # the best score occurs more than once
        self.spread = np.where(flat, 0.0, spread)

    def at(self, kappas: Array) -> CurvePoints:
        """Read the curve at `kappas` >= 0: (K,), or (P, K), a budget for every prompt (per-prompt only)."""
        kappa = np.atleast_1d(np.asarray(kappas, dtype=np.float64))
        if not np.all(np.isfinite(kappa) & (kappa >= 0)):
            raise EstimateError(f"KL budgets must be finite and at least 0 nats; got {kappas!r}.")
        budgets = kappa
        if kappa.ndim == 2 and not self.enough.all():
            kappa = kappa[self.enough]
        if self.sd == 0.0:
            points = self._flat(kappa)
        elif self.budget == "average":
            if kappa.ndim != 1:
                raise EstimateError("An average budget is one number per point, not one per prompt.")
            points = self._average(kappa)
        else:
            points = self._per_prompt(np.broadcast_to(kappa, (self.prompts, kappa.shape[-1])))
        # At KL 0 the gain is exactly 0; the solver would leave a rounding error.
        nothing = points.kappa == 0
        points.values[:, nothing] = 0.0
        points.levels[:, nothing] = 0.0
        points.reverse[:, nothing] = 0.0
        points.plugin[:, nothing] = 0.0
        points.beta[nothing] = np.inf
        wanted, unit = self.columns, self.units[self.columns]
        return replace(
            points,
            kappa=budgets if budgets.ndim == 1 else budgets.mean(axis=0),
            values=self.every(points.values[..., wanted] * unit),
            reverse=self.every(points.reverse),
            plugin=self.every(points.plugin * self.units[0]),
            levels=points.levels[..., wanted] * unit,
            slope=points.slope[:, wanted] * unit,
            beta=points.beta * self.units[0],
            ess=self.padded(points.ess, np.nan),
            inverse=self.padded(points.inverse / self.units[0], np.nan),
            share=self.padded(points.share, 0.0),
        )

    def moments(self, inverse: Array) -> LevelMoments:
        """Level averages at lambdas (L,), as `level_moments`, for the optimized reward and every evaluated one."""
        m = level_moments(self.splits, inverse * self.units[0])
        unit = self.units[self.columns]
        return LevelMoments(
            kl=self.every(m.kl),
            variance=self.every(m.variance * self.units[0] ** 2),
            reverse=self.every(m.reverse),
            mean=self.every(m.mean * self.units[0]),
            gains=self.every(m.gains[:, :, self.columns] * unit[:, None]),
            slopes=self.every(m.slopes[:, :, self.columns] * unit[:, None] * self.units[0]),
            ess=self.padded(m.ess, np.nan),
            share=self.padded(self.spread**2, 0.0),
        )

    def every(self, values: Array) -> Array:
        """Contributions of the included prompts as contributions of all P, with the same mean and variance.

        An excluded prompt gets the mean of the others, and their distances from it are scaled up. Resampled, the mean
        over all P then varies like the mean over the included prompts, to first order.
        """
        if self.enough.all():
            return values
        mean = values.mean(axis=0)
        out = np.broadcast_to(mean, (len(self.enough), *mean.shape)).copy()
        out[self.enough] += (values - mean) * (len(self.enough) / self.prompts)
        return out

    def padded(self, values: Array, fill: float) -> Array:
        """Values of the included prompts, `fill` for the others."""
        if self.enough.all():
            return values
        out = np.full((len(self.enough), *values.shape[1:]), fill)
        out[self.enough] = values
        return out

    def _flat(self, kappa: Array) -> CurvePoints:
        """Constant rewards: nothing to gain at any budget."""
        count = kappa.shape[-1]
        none = np.zeros((self.prompts, count))
        mean = kappa if kappa.ndim == 1 else kappa.mean(axis=0)
        return CurvePoints(
            mean, np.zeros((self.prompts, count, self.rewards)), none, none.copy(),
            np.zeros((LEVELS, count, self.rewards)),
            np.zeros((count, self.rewards)), np.full(count, np.inf), none + self.splits[0].sizes.sum(1)[:,
            None], none, np.zeros(count, dtype=int), np.ones(count),
            self.spread, AVERAGE, extrapolate(none + np.zeros((LEVELS, 1,
            1)))[1],
        )  # fmt: skip

    def _average(self, kappa: Array) -> CurvePoints:
        inverse, reached = self._solve_average(kappa)
        value, reverse, slopes = [], [], []
        ess = np.empty(0)
        for level in range(LEVELS):
            missing = np.isnan(inverse[level])
            lam = np.where(missing, 1.0 / self.sd, inverse[level])
            m = level_moments(self.splits, lam, level)
            rate = lam * m.variance.mean(axis=0)  # d mean KL / d lambda
            short = kappa - m.kl
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.where(rate[:, None] > 0, m.slopes.mean(axis=0) / rate[:, None], 0.0)
                back = np.where(rate > 0, m.mean.mean(axis=0) / rate, 0.0)
            value.append(np.where(missing[:, None], np.nan, m.gains + slope * short[..., None]))
            reverse.append(np.where(missing, np.nan, m.reverse + back * short))
            slopes.append(slope)
            ess = m.ess if level == 0 else ess
        values, shared = extrapolate(np.stack(value))
        lam = np.broadcast_to(inverse[0], (self.prompts, len(kappa)))
        with np.errstate(divide="ignore"):
            beta = shared.apply(1.0 / inverse)
        return CurvePoints(
            kappa, values, shared.apply(np.stack(reverse)), value[0][..., 0], np.stack(value).mean(axis=1), slopes[0],
            beta, ess, lam, reached, np.zeros(len(kappa)), self.spread**2, AVERAGE, shared,
        )  # fmt: skip

    def _solve_average(self, kappa: Array) -> tuple[Array, np.ndarray]:
        """Lambda (3, K) at which each level's mean KL is kappa, NaN if it does not reach it; levels reached (K,)."""
        scale = np.geomspace(2.0**-9, STEEPEST, 43) / self.sd
        coarse = scale[::2]
        enough = bisect_left(coarse, kappa.max(), key=lambda lam: spending(self.splits[:1], np.array([lam]))[0][0, 2])
        last = coarse[min(enough + 1, len(coarse) - 1)]
        grid = np.geomspace(last / 400.0, last, GRID) if enough < len(coarse) else scale
        inverse = solve_levels(self.splits, grid, kappa)
        found = np.isfinite(inverse)
        reached = np.where(found[0], 1 + found[1] + (found[1] & found[2]), 0)
        inverse[2, ~found[1]] = np.nan
        return inverse, reached

    @cached_property
    def _nodes(self) -> tuple[Array, list[tuple[Array, Array, Array, Array]], TiltMoments]:
        """Of a per-prompt budget: each prompt's λ (P, L); for each split KL, its rate, gains and their rates at them
        (L last); moments of the last split.
        """
        unit = np.concatenate([np.geomspace(0.05, 20.0, GRID), np.geomspace(25.0, STEEPEST, 20)])
        inverse = unit / np.where(self.spread > 0, self.spread, 1.0)[:, None]
        curves = []
        for parts in self.splits:
            m = moments_of(parts, inverse)
            gains = np.concatenate([m.reward[:, :, None, :], m.gain, m.log_mean_exp[:, :, None, :]], axis=2)
            rates = np.concatenate([m.variance[:, :, None, :], m.covariance, m.reward[:, :, None, :]], axis=2)
            rate = inverse[:, :, None] * m.variance
            kl, rate, gains, rates = (np.moveaxis(each, 1, -1) for each in (m.kl, rate, gains, rates))
            curves.append((kl, rate, gains, rates))
        return inverse, curves, m

    def _per_prompt(self, kappa: Array) -> CurvePoints:
        """Every block of every prompt has its own lambda, or stays at its ceiling."""
        inverse, curves, first = self._nodes
        levels = []
        for parts, curve in zip(self.splits, curves, strict=True):
            blocks = interpolate(*curve, kappa)  # (P, V+1, B, K)
            levels.append(by_level(np.moveaxis(blocks, 2, -1), block_weights(parts.sizes)))
        first_sizes = self.splits[-1].sizes
        stacked = np.moveaxis(np.mean(levels, axis=0), (3, 1), (0, 3))  # (3, P, K, V+1)
        values, shared = extrapolate(stacked[..., :-1])
        kl = first.kl[..., 0]
        stopped = kappa > kl[:, -1:]
        # A quarter that ends at its own ceiling (ties for its best) does not show how the bias falls.
        # If all samples end there, at ties for their best, the gain is known.
        quarters = np.where(first_sizes[:, None, :] > 0, kappa[:, :, None] > first.kl[:, -1:, 3:], False)
        quarters &= ~(stopped & self.known)[:, :, None]
        capped = (self.spread / self.spread.sum()) @ quarters.mean(axis=2)
        lam = np.stack(
            [np.interp(np.sqrt(k), np.sqrt(np.maximum(c, 0)), i) for k, c, i in zip(kappa, kl, inverse, strict=True)]
        )
        ess = np.stack([np.interp(i, j, e) for i, j, e in zip(lam, inverse, first.ess, strict=True)])
        own = np.where(stopped, 0.0, 1.0 / lam)
        slope = np.zeros((kappa.shape[1], self.rewards))
        slope[:, 0] = own.mean(axis=0)
        # Every block ends at its own ceiling, so levels differ by the log of their sizes.
        room = np.log(np.maximum(np.median(first_sizes.sum(axis=1)), 1)) - np.log([1.0, 2.0, 4.0])
        if self.pooled:  # samples have different weights: the largest KL that blocks of each level reach
            room = np.median(by_level(first.kl[:, -1], block_weights(first_sizes)), axis=0)
        reached = np.where(stopped.all(axis=0), 0, np.sum(kappa.mean(axis=0)[:, None] < room, axis=1))
        values[:, reached == 0] = np.nan
        return CurvePoints(
            kappa.mean(axis=0), values, shared.apply(stacked[..., -1]), stacked[0][..., 0],
            stacked.mean(axis=1)[..., :-1], slope, own.mean(axis=0), ess, lam, reached, capped, self.spread,
            PER_PROMPT, shared,
        )  # fmt: skip


def judge_points(
    scores: Array,
    points: CurvePoints,
    *,
    clusters: int | None = None,
    pool: Pool | None = None,
    widened: bool = False,
) -> Verdict:
    """The verdict on points read off the curve of `scores`.

    Args:
        scores: (P, M).
        points: of that curve.
        clusters: number of clusters that the bootstrap draws (`PromptBootstrap.clusters`).
        pool: laws of the samples, if not all are from the base.
        widened: whether intervals include the remaining bias (`bootstrap.limit_interval`).

    Returns:
        The verdict on each point.
    """
    return judge(
        scores,
        points.inverse,
        points.ess,
        points.correction.ratio,
        points.correction.ratio_error,
        reached=points.reached,
        share=points.share,
        carriers=points.carriers,
        capped=points.capped,
        clusters=clusters,
        pool=pool,
        widened=widened,
    )

"""The frontier of reward against KL, at given temperatures and KL budgets, with intervals and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    APART,
    Array,
    Columns,
    Flags,
    Words,
    as_given,
    check_evaluated,
    check_scores,
    sample_counts,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bending import left_of_others
from alignment_limits.limits.bootstrap import (
    PromptBootstrap,
    interval_at_beta,
    limit_interval,
)
from alignment_limits.limits.brackets import Bounds, Dual, at_least, duals, lower_end
from alignment_limits.limits.correction import LevelMoments, extrapolate_at_beta, left_at_beta, remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.means import columns_of
from alignment_limits.limits.reliability import FEWEST_PROMPTS, Verdict, judge
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.tilt import check_betas


@dataclass(frozen=True, repr=False)
class FrontierTable(Columns):
    """Rows of one frontier as equal 1-D arrays: first those at a temperature, then those at a KL budget.

    Attributes:
        at: "beta" or "kl": which of the two was given.
        budget: "average" or "per-prompt".
        beta: temperature, in units of the optimized reward; at a KL, the slope dG*/dKL there.
        kl, kl_reverse: KL(π_β‖π₀) and KL(π₀‖π_β), nats per sequence, means over prompts.
        gain: E_{π_β} v − E_{π₀} v in units of the evaluated reward, corrected for finite samples.
        gain_plugin, kl_plugin: the same without correction.
        at_least: a lower confidence bound that holds for any tail: at a KL of the limit, at a temperature of the gain
            there; from base samples alone. NaN for another evaluated reward, and with fewer than 16 prompts (clusters).
        at_most: the same from above, for rewards with `bounds`: at a KL of the evaluated reward's own limit, which no
            policy exceeds; at a temperature of the gain there. NaN without bounds.
        ess, pareto_k: effective sample size and tail shape of the weights, medians over prompts.
        effective_prompts: number of prompts (or clusters) that carry the estimate: all of them if their spreads are
            alike.
        gain_reliable, gain_reason: the verdict on the gain, and why it is not reliable ("" if it is).
        kl_reliable, kl_reason: the same of the KL; a given KL is always reliable.
        reliable, reason: of the row: both are reliable, or the first reason why not.
        own: whether the evaluated reward is the optimized one, so that the gain is the limit; not a column.

    Intervals are `*_low` and `*_high`.
    """

    shown = ("kl", "gain")

    at: Words
    budget: Words
    beta: Array
    kl: Array
    kl_low: Array
    kl_high: Array
    kl_reverse: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    gain_plugin: Array
    kl_plugin: Array
    at_least: Array
    at_most: Array
    ess: Array
    pareto_k: Array
    effective_prompts: Array
    gain_reliable: Flags
    gain_reason: Words
    kl_reliable: Flags
    kl_reason: Words
    reliable: Flags
    reason: Words
    own: bool = field(default=True, metadata=APART)


@overload
def frontier(optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], **settings: Any) -> dict[str, FrontierTable]: ...
@overload
def frontier(optimized: ArrayLike, evaluated: ArrayLike | None = None, **settings: Any) -> FrontierTable: ...
def frontier(  # type: ignore[misc]  # the settings are the same for both
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    betas: ArrayLike = (),
    kls: ArrayLike = (),
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    pool: Pool | None = None,
    bounds: Mapping[str, Bounds] | Bounds | None = None,
) -> dict[str, FrontierTable] | FrontierTable:
    """Gain in each evaluated reward of the tilt by `optimized`, at each temperature and at each KL budget.

    Gains are corrected for finite samples. At a temperature, KL, reverse KL and gain are corrected by one factor, so
    gain = β (kl + kl_reverse) holds exactly for the optimized reward. A budget that the samples do not reach gives NaN
    and a row that is not reliable.

    Args:
        optimized: scores (prompts, samples) of base samples; NaN marks a missing sample.
        evaluated: scores of the same samples, or such scores by name; default: the optimized reward itself.
        betas: temperatures in units of the optimized reward, under the average budget only.
        kls: budgets in nats.
        budget: "average" (one β for all prompts; the budget is the mean KL) or "per-prompt" (each prompt has this KL).
        replicates, seed, level: of the bootstrap over prompts.
        keys: integers (prompts,) that name prompts in the random splits and draws, so that results do not depend on the
            row or shard of a prompt; default: row numbers.
        clusters: labels (prompts,) of prompts that are not independent, such as the template of each. The
            bootstrap draws clusters, and the verdict counts them; default: every prompt is independent.
        pool: laws of the samples and their log-ratios to the base, if not all samples are from the base. Samples of
            trained policies show the tilt at KLs that base samples do not reach.
        bounds: the lowest and the highest score of the evaluated reward, or by name; each one number or one per prompt.
            They give `at_most`.

    Returns:
        One table, or one for each name where `evaluated` is a mapping.

    Raises:
        EstimateError: scores that cannot be used or are outside the bounds (with the row), or nothing to estimate.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> table = frontier(scores, kls=[0.1, 0.5])
        >>> table.gain.round(2)  # a Gaussian reward gains √(2 KL)
        array([0.44, 0.99])
        >>> table
        FrontierTable: 2 rows, 2 reliable
          kl 0.1 to 0.5, gain 0.443 to 0.987

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105; docs/theory.md, "The limit at a KL budget".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, scores if evaluated is None else evaluated)
    curve = CorrectedCurve(scores, list(others.values()), budget=budget, seed=seed, keys=keys, pool=pool)
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    beta, kappa = _vector(betas, "betas"), _vector(kls, "kls")
    drawn = {"optimized": scores, **others}
    if pool is not None:
        drawn = {name: pool.base_only(array) for name, array in drawn.items()}
    base = curve if pool is None else CorrectedCurve(drawn["optimized"], budget=budget, seed=seed, keys=keys)
    upper = duals({name: drawn[name] for name in others}, bounds, boot)
    brackets = _Brackets(base, curve.columns[1:] == 0, boot, [upper.get(name) for name in others])
    parts = []
    if beta.size and budget == "average":
        parts.append(_rows_at_beta(curve, scores, check_betas(beta), boot, pool, brackets))
    if kappa.size:
        parts.append(_rows_at_kl(curve, scores, list(others.values()), kappa, boot, pool, brackets))
    if not parts:
        raise EstimateError(f"Nothing to estimate: give kls{' or betas' if budget == 'average' else ''}.")
    tables = {
        name: FrontierTable(
            **{k: np.concatenate([_column(p, k, index) for p in parts]) for k in FrontierTable.names()},
            own=np.array_equal(scores, other, equal_nan=True),
        )
        for index, (name, other) in enumerate(others.items())
    }
    return as_given(evaluated, tables)


def limit_at(
    optimized: ArrayLike,
    kls: ArrayLike,
    *,
    evaluated: ArrayLike | None = None,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    pool: Pool | None = None,
    bounds: Bounds | None = None,
) -> FrontierTable:
    """The corrected limit at given KLs only: `frontier` without temperatures.

    Args:
        optimized, evaluated: scores (prompts, samples); default of the second: the first.
        kls: budgets in nats.
        budget, replicates, seed, level, keys, clusters, pool, bounds: as for `frontier`.

    Returns:
        One row for each KL.

    Raises:
        EstimateError: scores that cannot be used.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> limit_at(scores, [0.5]).gain.round(2)
        array([0.99])

    References:
        docs/theory.md, "The limit at a KL budget".
    """
    other = optimized if evaluated is None else evaluated
    return frontier(
        optimized, {"evaluated": other}, kls=kls, budget=budget,
        replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters, pool=pool,
        bounds=None if bounds is None else {"evaluated": bounds},
    )["evaluated"]  # fmt: skip


def _vector(values: ArrayLike, name: str) -> Array:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1:
        raise EstimateError(f"{name} must be one list of numbers; got shape {array.shape}.")
    return array


def _column(part: dict[str, np.ndarray], name: str, index: int) -> np.ndarray:
    column = part[name]
    return column[:, index] if column.ndim == 2 else column


def _rows_at_beta(
    curve: CorrectedCurve,
    scores: Array,
    beta: Array,
    boot: PromptBootstrap,
    pool: Pool | None,
    brackets: "_Brackets",
) -> dict[str, np.ndarray]:
    m = curve.moments(1.0 / beta)
    stacked = np.moveaxis(np.concatenate([m.gains, m.kl[:, :, None], m.reverse[:, :, None]], axis=2), -1, 0)
    values = extrapolate_at_beta(stacked)
    gains, kl, reverse = values[..., 1:-2], values[..., -2], values[..., -1]
    left = left_at_beta(stacked, m.ess, sample_counts(scores))
    gain_low, gain_high = interval_at_beta(boot, gains, left[..., 1:-2])
    kl_low, kl_high = interval_at_beta(boot, kl, left[..., -2])
    count = len(beta)
    rows = {
        "at": np.full(count, "beta", dtype=object),
        "budget": np.full(count, curve.budget, dtype=object),
        "beta": beta,
        "kl": kl.mean(axis=0),
        "kl_low": kl_low,
        "kl_high": kl_high,
        "kl_reverse": reverse.mean(axis=0),
        "gain": gains.mean(axis=0),
        "gain_low": gain_low,
        "gain_high": gain_high,
        "gain_plugin": m.gains[:, :, 1:, 0].mean(axis=0),
        "kl_plugin": m.kl[..., 0].mean(axis=0),
        **brackets.at_beta(beta, m if pool is None else brackets.base.moments(1.0 / beta)),
    }
    verdict = judge(
        scores, 1.0 / beta, m.ess, share=m.share, clusters=boot.clusters, pool=pool, at_beta=rows["kl"], widened=True
    )
    return rows | verdicts_at_beta(verdict)


def verdicts_at_beta(verdict: Verdict) -> dict[str, np.ndarray]:
    """Columns of verdicts at temperatures, the same for gain and KL."""
    return diagnostics(verdict) | columns_of({"kl": verdict.reason, "gain": verdict.reason})


def verdicts_at_kl(verdict: Verdict) -> dict[str, np.ndarray]:
    """Columns of verdicts at given KLs, where only the gain is estimated."""
    given = np.full(len(verdict.reason), "", dtype=object)
    return diagnostics(verdict) | columns_of({"kl": given, "gain": verdict.reason})


def diagnostics(verdict: Verdict) -> dict[str, np.ndarray]:
    """Columns of what verdicts are based on."""
    return {name: getattr(verdict, name) for name in ("ess", "pareto_k", "effective_prompts")}


def _rows_at_kl(
    curve: CorrectedCurve,
    scores: Array,
    evaluated: Sequence[Array],
    kappa: Array,
    boot: PromptBootstrap,
    pool: Pool | None,
    brackets: "_Brackets",
) -> dict[str, np.ndarray]:
    points = curve.at(kappa)
    gains = points.values[..., 1:]
    verdict = judge_points(scores, points, clusters=boot.clusters, pool=pool, widened=True)
    if pool is None:
        left = left_of_others(curve, points, scores, evaluated, verdict.ess)
    else:
        left = remaining(points.levels, points.correction.factor, verdict.ess)
    gain_low, gain_high = limit_interval(boot, gains, left[:, 1:])
    rows = {
        "at": np.full(len(kappa), "kl", dtype=object),
        "budget": np.full(len(kappa), curve.budget, dtype=object),
        "beta": points.beta,
        "kl": kappa,
        "kl_low": kappa,
        "kl_high": kappa,
        "kl_reverse": points.reverse.mean(axis=0),
        "gain": gains.mean(axis=0),
        "gain_low": gain_low,
        "gain_high": gain_high,
        "gain_plugin": points.levels[0][:, 1:],
        "kl_plugin": kappa,
        **brackets.at_kl(kappa, points if pool is None else brackets.base.at(kappa)),
    }
    return rows | verdicts_at_kl(verdict)


@dataclass(frozen=True)
class _Brackets:
    """Lower and upper bounds of all rows.

    Attributes:
        base: the curve of base samples.
        own: which evaluated rewards are the optimized one (V,).
        boot: replicates of prompts.
        duals: upper bounds of the evaluated rewards, None without `bounds` (V,).
    """

    base: CorrectedCurve
    own: np.ndarray
    boot: PromptBootstrap
    duals: Sequence[Dual | None]

    def at_kl(self, kappa: Array, points: CurvePoints) -> dict[str, Array]:
        """Columns (K, V) at KLs (K,), from the points of the base's curve."""
        least = at_least(kappa, points.plugin.mean(axis=0), self.boot.interval(points.plugin)[0])
        return self._columns(least, [None if dual is None else dual.at(kappa) for dual in self.duals])

    def at_beta(self, beta: Array, m: LevelMoments) -> dict[str, Array]:
        """Columns (K, V) at temperatures (K,). The gain is at least gain - beta KL, of which the plug-in is too low."""
        net = beta * m.reverse[..., 0]
        least = lower_end(net.mean(axis=0), self.boot.interval(net)[0])
        own = zip(self.duals, self.own, strict=True)
        return self._columns(least, [dual.at_beta(beta, least) if dual and same else None for dual, same in own])

    def _columns(self, least: Array, most: Sequence[Array | None]) -> dict[str, Array]:
        lower = np.where(self.own & (self.boot.units >= FEWEST_PROMPTS), least[:, None], np.nan)
        none = np.full(len(least), np.nan)
        return {"at_least": lower, "at_most": np.stack([none if m is None else m for m in most], axis=1)}

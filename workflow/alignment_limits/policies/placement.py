"""Where policies stand on the KL-reward plane, next to the limit estimated from base samples.

For a policy π of mean KL κ from the base, and a reward with limit G*(κ), reached by the tilt π_β with β = dG*/dκ:

    gain        E_π r − E_π₀ r
    efficiency  gain / G*(κ)
    gap         KL(π‖π_β) = [𝒥(π_β) − 𝒥(π)] / β = (G*(κ) − gain) / β,   𝒥(π) = E_π r − β KL(π‖π₀)
    win rate    P(r(π's reply) > r(base's)) + P(equal) / 2

Everything is a mean, or a ratio of means, of contributions per prompt, resampled together. So intervals of efficiency
and gap contain the uncertainty of gain, KL and limit at once. β is kept at its estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignment_limits.ensembles.scores import Array, Columns, Flags, Words, check_scores, prompt_means
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, widened
from alignment_limits.limits.brackets import WIDER, Bounds, Dual, check_bounds, lower_ends
from alignment_limits.limits.correction import remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.means import NO_SHARE, columns_of, judge_draws, paired_limit, together
from alignment_limits.limits.reliability import Verdict
from alignment_limits.limits.samples import Pool

RESOLUTION = 1e-5  # nats per reply; a smaller KL is rounding in float32, and its limit a ratio of rounding errors


@dataclass(frozen=True, repr=False)
class Placement(Columns):
    """One row per policy, equal 1-D arrays; rewards in the units given, KL in nats per reply, means over prompts.

    Attributes:
        gain: of the policy over the base.
        limit: at the policy's KL. Like `efficiency` and `optimality_gap` it is NaN where the samples do not show it, or
            the KL is infinite.
        efficiency: gain / limit; also NaN where the KL is below the resolution of float32.
        at_least, at_most: bounds of the limit from base samples, for any tail and for rewards with bounds; the policy's
            gain counts, as no gain exceeds the limit. NaN with fewer than 16 prompts, and without bounds.
        beta: dG*/dκ at the policy's KL; inf at KL 0.
        optimality_gap: KL(π‖π_β), nats.
        win_rate: against a base reply; a tie counts half.
        limit_from: "base" where the limit is from the base's samples, "pool" where it is from policies' as well.
        reliable, reason: of the row, the same as for its efficiency. Gain, limit, efficiency and win rate each have a
            verdict of their own: <name>_reliable, <name>_reason ("" where reliable). Gain and win rate need no limit.

    Intervals (bootstrap over prompts) are `*_low` and `*_high`.
    """

    shown = ("gain", "efficiency")

    gain: Array
    gain_low: Array
    gain_high: Array
    limit: Array
    at_least: Array
    at_most: Array
    efficiency: Array
    efficiency_low: Array
    efficiency_high: Array
    beta: Array
    optimality_gap: Array
    optimality_gap_low: Array
    optimality_gap_high: Array
    win_rate: Array
    win_rate_low: Array
    win_rate_high: Array
    limit_from: Words
    gain_reliable: Flags
    gain_reason: Words
    win_rate_reliable: Flags
    win_rate_reason: Words
    limit_reliable: Flags
    limit_reason: Words
    efficiency_reliable: Flags
    efficiency_reason: Words
    reliable: Flags
    reason: Words


def place(
    base: ArrayLike,
    policies: Sequence[ArrayLike],
    kl: ArrayLike,
    *,
    log_ratios: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
    pool: Pool | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    bounds: Bounds | None = None,
) -> Placement:
    """Place K policies on the plane of one reward.

    Where base samples alone do not show the limit at a policy's KL, it is from all samples of `pool`, or with
    `log_ratios` from the base's and this policy's.

    Args:
        base: scores of base samples [p, m]; NaN marks a missing sample.
        policies: scores of each policy's samples [p, m'], the same prompts in the same order, in the same units.
        kl: KL of each policy at each prompt [p, k], nats; its mean over prompts is the budget.
        log_ratios: for each policy log π/π₀ of the base's samples [p, m] and of its own [p, m'], nats.
        pool: laws of the base's samples and then of each policy's, next to each other, with all log-ratios.
        replicates, seed, level, keys, clusters: as for `frontier`.
        bounds: the lowest and the highest score of the reward, as for `frontier`.

    Returns:
        One row for each policy.

    Raises:
        EstimateError: scores or KLs that cannot be used, or of other prompts; scores outside the bounds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> base, policy = rng.normal(size=(200, 64)), rng.normal(1.0, size=(200, 64))  # the tilt at 0.5 nats
        >>> place(base, [policy], np.full((200, 1), 0.5), replicates=200).efficiency.round(2)
        array([1.02])

    References:
        docs/theory.md, "Distance of a policy from the limit"; docs/policies.md.
    """
    scores = check_scores(base, "the base's")
    theirs = [check_scores(policy, f"policy {i}") for i, policy in enumerate(policies)]
    spent = np.asarray(kl, dtype=np.float64)
    if spent.shape != (len(scores), len(theirs)) or np.isnan(spent).any():
        raise EstimateError(
            f"KLs have shape {spent.shape} or contain NaN; expected (prompts, policies) with {len(theirs)} policies."
        )
    if any(len(policy) != len(scores) for policy in theirs):
        raise EstimateError(f"Policies must have the base's {len(scores)} prompts, in the same order.")
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    gain = np.stack([prompt_means(policy) - prompt_means(scores) for policy in theirs], axis=1)
    wins = np.stack([win_rates(policy, scores) for policy in theirs], axis=1)

    kappa = spent.mean(axis=0)
    infinite, none = np.isinf(kappa), kappa <= RESOLUTION
    away = ~(infinite | none)
    points = CorrectedCurve(scores, seed=seed, keys=keys).at(np.where(away, kappa, 0.0))
    limit = np.where(away, paired_limit(points, np.where(away, spent, 0.0), "average"), 0.0)
    limit[:, infinite] = np.nan
    plugin = np.where(away, paired_limit(points, np.where(away, spent, 0.0), "average", plugin=True), 0.0)
    beta, reasons = points.beta.copy(), judge_points(scores, points, clusters=boot.clusters).reason.copy()
    left = np.zeros(len(theirs))
    limit_from = np.full(len(theirs), "base", dtype=object)
    wanted = np.flatnonzero(away & (reasons != ""))
    pools: list[tuple[NDArray[np.int64], Array, Pool]] = []  # policies, the samples that show their limit, their laws
    if pool is not None and wanted.size:
        pools = [(wanted, np.concatenate([scores, *theirs], axis=1), pool)]
    elif log_ratios is not None:
        pools = [(np.array([k]), *_own_pool(scores, theirs[k], log_ratios[k])) for k in wanted]
    for which, together_scores, laws in pools:
        found = _pooled_limits(together_scores, laws, spent[:, which], boot, seed, keys)
        good = found.reasons == ""
        limit[:, which[good]], beta[which[good]] = found.values[:, good], found.beta[good]
        reasons[which[good]], limit_from[which[good]], left[which[good]] = "", "pool", found.left[good]
    # Otherwise the base's samples, with the bias that may remain in the intervals.
    wider = judge_points(scores, points, clusters=boot.clusters, widened=True)
    rest = np.flatnonzero(away & (reasons != ""))
    reasons[rest], left[rest] = wider.reason[rest], _left(points, wider)[rest]
    reasons[none] = f"no KL to speak of (up to {RESOLUTION:g} nats)"
    reasons[infinite] = "infinite KL: its top-p nucleus leaves the base's"
    with np.errstate(invalid="ignore"):
        gap = np.where(none, 0.0, (limit - gain) / beta)
    mean, mean_limit = gain.mean(axis=0), limit.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(mean_limit > 0, mean / mean_limit, np.nan)
        off, gap_off = np.where(left > 0, np.abs(share) * left / mean_limit, 0.0), np.where(left > 0, left / beta, 0.0)
    efficiency_low, efficiency_high = widened(share, *boot.ratio(gain, limit), off)
    gain_low, gain_high = boot.interval(gain)
    bound_of = [lower_ends(boot, each.mean(axis=0), boot.interval(each)[0]) for each in (gain, plugin)]
    most = np.full(len(theirs), np.nan)
    if bounds is not None:
        for policy in theirs:
            check_bounds(policy, bounds, "a policy")
        more = boot.interval(np.where(infinite, 0.0, spent))[1] - kappa
        most = Dual.of(scores, bounds, boot).at(np.where(infinite, np.inf, kappa + WIDER * np.where(away, more, 0.0)))
    gap_low, gap_high = widened(gap.mean(axis=0), *boot.interval(gap), gap_off)
    win_low, win_high = boot.interval(wins)
    verdicts = {
        "gain": judge_draws("gain", gain, boot),
        "win_rate": judge_draws("win rate", wins, boot),
        "limit": reasons,
    }
    none_at_all = np.where(np.isfinite(efficiency_low + efficiency_high), "", NO_SHARE)
    verdicts["efficiency"] = together(reasons, verdicts["gain"], none_at_all)
    return Placement(
        gain=mean,
        gain_low=gain_low,
        gain_high=gain_high,
        limit=mean_limit,
        at_least=np.fmax(*bound_of),
        at_most=most,
        efficiency=share,
        efficiency_low=efficiency_low,
        efficiency_high=efficiency_high,
        beta=np.where(infinite, np.nan, beta),
        optimality_gap=gap.mean(axis=0),
        optimality_gap_low=gap_low,
        optimality_gap_high=gap_high,
        win_rate=wins.mean(axis=0),
        win_rate_low=win_low,
        win_rate_high=win_high,
        limit_from=limit_from,
        **columns_of(verdicts),
    )


@dataclass(frozen=True)
class _Limits:
    """Limits at the KLs of policies: contributions of the prompts [p, k], dG*/dκ [k], why each is not reliable [k], and
    a bound of the bias that remains [k].
    """

    values: Array
    beta: Array
    reasons: Words
    left: Array


def _left(points: CurvePoints, verdict: Verdict) -> Array:
    return remaining(points.levels, points.correction.factor, verdict.ess)[:, 0]


def _own_pool(base: Array, policy: Array, log_ratios: tuple[ArrayLike, ArrayLike]) -> tuple[Array, Pool]:
    """The base's samples [p, m] and one policy's [p, m'] next to each other, and their laws."""
    on_base, own = (np.asarray(each, dtype=np.float64) for each in log_ratios)
    if on_base.shape != base.shape or own.shape != policy.shape:
        raise EstimateError(
            f"Log-ratios of shapes {on_base.shape} and {own.shape} for samples {base.shape} and {policy.shape}."
        )
    laws = np.repeat(["base", "policy"], [base.shape[1], policy.shape[1]])
    return np.concatenate([base, policy], axis=1), Pool.of(laws, {"policy": np.concatenate([on_base, own], axis=1)})


def _pooled_limits(
    scores: Array, pool: Pool, kl: Array, boot: PromptBootstrap, seed: int, keys: np.ndarray | None
) -> _Limits:
    """From pooled samples, at the policies' KLs [p, k]."""
    if pool.law.shape != scores.shape:
        raise EstimateError(f"The pool has shape {pool.law.shape}, but the samples have shape {scores.shape}.")
    # No log-ratio: rounding put a reply outside the nuclei of both laws.
    missing = np.isnan(scores) | (pool.law < 0)
    scores, pool = np.where(missing, np.nan, scores), pool.without(missing)
    points = CorrectedCurve(scores, seed=seed, keys=keys, pool=pool).at(kl.mean(axis=0))
    values = paired_limit(points, kl, "average")
    verdict = judge_points(scores, points, clusters=boot.clusters, pool=pool, widened=True)
    return _Limits(values, points.beta, verdict.reason, _left(points, verdict))


def win_rates(policy: Array, base: Array) -> Array:
    """Share of pairs (a policy's reply, a base reply) that the policy wins; a tie counts half.

    Args:
        policy, base: scores [p, m'] and [p, m]; NaN marks a missing sample.

    Returns:
        Shares [p].

    Example:
        >>> win_rates(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
        array([0.875])
    """
    out = np.empty(len(base))
    for i, (ours, theirs) in enumerate(zip(policy, base, strict=True)):
        ours, theirs = ours[~np.isnan(ours)], np.sort(theirs[~np.isnan(theirs)])
        below, up_to = (np.searchsorted(theirs, ours, side=side) for side in ("left", "right"))
        out[i] = (below + up_to).mean() / (2 * len(theirs))
    return out


def mean_over_prompts(values: Array, boot: PromptBootstrap) -> tuple[Array, Array, Array]:
    """Mean of contributions over prompts, with its interval.

    Args:
        values: [p, k].
        boot: replicates.

    Returns:
        Mean, low and high [k]; an infinite contribution makes the mean infinite, without interval.

    Example:
        >>> boot = PromptBootstrap(100, replicates=200)
        >>> mean, low, high = mean_over_prompts(np.random.default_rng(0).normal(size=(100, 1)), boot)
        >>> bool(low < mean < high)
        True
    """
    finite = np.isfinite(values).all(axis=0)
    low, high = boot.interval(np.where(finite, values, np.nan))
    return values.mean(axis=0), low, high

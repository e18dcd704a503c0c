"""Where policies stand on the KL-reward plane, beside the limit estimated from the base's samples (theory §6).

For a policy π of mean KL κ to the base, and a reward with limit G*(κ), reached by the tilt π_β with β = dG*/dκ:

    gain        E_π r − E_π₀ r
    efficiency  gain / G*(κ)
    gap         KL(π‖π_β) = [𝒥(π_β) − 𝒥(π)] / β = (G*(κ) − gain) / β,   𝒥(π) = E_π r − β KL(π‖π₀)
    win rate    P(r(π's reply) > r(base's)) + P(equal) / 2

Everything is a mean, or a ratio of means, of contributions per prompt, resampled together; so intervals of
efficiency and gap hold the uncertainty of gain, KL and limit at once. β is held at its estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, Columns, check_scores, prompt_means
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.paired import paired_limit
from alignment_limits.limits.picks import judge_draws

RESOLUTION = 1e-5  # nats per reply; a smaller KL is rounding in float32, and its limit a quotient of rounding errors


@dataclass(frozen=True)
class Placement(Columns):
    """One row per policy, equal 1-D arrays; rewards in the units given, KL in nats per reply, means over prompts.

    *_low/_high : interval from a bootstrap over prompts. beta : dG*/dκ at the policy's KL; inf at KL 0. limit,
    efficiency, optimality_gap : NaN where the samples do not show the limit, or the KL is infinite; efficiency also
    where there is no KL to speak of. reason : "" where the limit is reliable. Gain and win rate, which need no limit,
    have verdicts of their own.
    """

    gain: Array
    gain_low: Array
    gain_high: Array
    limit: Array
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
    reliable: np.ndarray
    reason: np.ndarray
    gain_reliable: np.ndarray
    gain_reason: np.ndarray
    win_rate_reliable: np.ndarray
    win_rate_reason: np.ndarray


def place(
    base: ArrayLike,
    policies: Sequence[ArrayLike],
    kl: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> Placement:
    """Place K policies on the plane of one reward.

    Args:
        base: scores of base samples [p, m], NaN = no such sample.
        policies: scores of each policy's samples [p, m'], the same prompts in the same order, the same units.
        kl: KL of each policy at each prompt [p, k], nats; its mean over prompts is the budget.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Raises:
        EstimateError: scores or KLs that cannot be used, or of other prompts.
    """
    scores = check_scores(base, "the base's")
    theirs = [check_scores(policy, f"policy {i}") for i, policy in enumerate(policies)]
    spent = np.asarray(kl, dtype=np.float64)
    if spent.shape != (len(scores), len(theirs)) or np.isnan(spent).any():
        raise EstimateError(f"KLs of shape {spent.shape} (prompts, policies), or NaN, for {len(theirs)} policies.")
    if any(len(policy) != len(scores) for policy in theirs):
        raise EstimateError(f"Policies must have the base's {len(scores)} prompts, in its order.")
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    gain = np.stack([prompt_means(policy) - prompt_means(scores) for policy in theirs], axis=1)
    wins = np.stack([win_rates(policy, scores) for policy in theirs], axis=1)

    kappa = spent.mean(axis=0)
    infinite, none = np.isinf(kappa), kappa <= RESOLUTION
    away = ~(infinite | none)
    points = CorrectedCurve(scores, seed=seed, keys=keys).at(np.where(away, kappa, 0.0))
    limit = np.where(away, paired_limit(points, np.where(away, spent, 0.0), "average"), 0.0)
    limit[:, infinite] = np.nan
    with np.errstate(invalid="ignore"):
        gap = np.where(none, 0.0, (limit - gain) / points.beta)
    mean, mean_limit = gain.mean(axis=0), limit.mean(axis=0)
    efficiency_low, efficiency_high = boot.ratio(gain, limit)
    reasons = judge_points(scores, points, clusters=boot.clusters).reason.copy()
    reasons[none] = f"no KL to speak of (up to {RESOLUTION:g} nats)"
    reasons[infinite] = "infinite KL: its top-p nucleus leaves the base's"
    gain_low, gain_high = boot.interval(gain)
    gap_low, gap_high = boot.interval(gap)
    win_low, win_high = boot.interval(wins)
    gain_reason, win_reason = (judge_draws(name, each, boot) for name, each in (("gain", gain), ("win rate", wins)))
    return Placement(
        gain=mean,
        gain_low=gain_low,
        gain_high=gain_high,
        limit=mean_limit,
        efficiency=mean / np.where(mean_limit > 0, mean_limit, np.nan),
        efficiency_low=efficiency_low,
        efficiency_high=efficiency_high,
        beta=np.where(infinite, np.nan, points.beta),
        optimality_gap=gap.mean(axis=0),
        optimality_gap_low=gap_low,
        optimality_gap_high=gap_high,
        win_rate=wins.mean(axis=0),
        win_rate_low=win_low,
        win_rate_high=win_high,
        reliable=reasons == "",
        reason=reasons,
        gain_reliable=gain_reason == "",
        gain_reason=gain_reason,
        win_rate_reliable=win_reason == "",
        win_rate_reason=win_reason,
    )


def win_rates(policy: Array, base: Array) -> Array:
    """Per prompt [p]: share of pairs (a policy's reply, a base reply) the policy wins, a tie counting half."""
    out = np.empty(len(base))
    for i, (ours, theirs) in enumerate(zip(policy, base, strict=True)):
        ours, theirs = ours[~np.isnan(ours)], np.sort(theirs[~np.isnan(theirs)])
        below, up_to = (np.searchsorted(theirs, ours, side=side) for side in ("left", "right"))
        out[i] = (below + up_to).mean() / (2 * len(theirs))
    return out


def mean_over_prompts(values: Array, boot: PromptBootstrap) -> tuple[Array, Array, Array]:
    """Mean and interval [k] of contributions [p, k]; an infinite one makes the mean infinite, without interval."""
    finite = np.isfinite(values).all(axis=0)
    low, high = boot.interval(np.where(finite, values, np.nan))
    return values.mean(axis=0), low, high

"""How far policies are from a target that is a tilt of the base, π* = π₀ e^(r/β) / Z (theory §1, §6, §7).

    forward   KL(π*‖π) = KL(π*‖π₀) − (E_π* u − E_π₀ u) + KL(π₀‖π),     u = log π/π₀,
    reverse   KL(π‖π*) = KL(π‖π₀) − (E_π r − E_π₀ r)/β + KL(π₀‖π*),

each a mean over prompts. Expectations under π* are self-normalised sums over the base's samples with weights e^(r/β),
KL(π*‖π₀) and KL(π₀‖π*) those of the frontier at β; KL(π‖π₀) and KL(π₀‖π) are exact next-token KLs summed along samples
of π and of π₀. The third term of each stands for the mean of a log-ratio over the same samples that the second has, so
most of the noise goes: at π = π* both are left with log Ẑ less its first-order part.

What self-normalised sums miss falls as 1/M: extrapolated away from halves and quarters, as the frontier's rows at β.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, check_scores, prompt_means
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.diagnostics import AT_BETA, judge
from alignment_limits.limits.levels import MOST_MISSED, extrapolate_at_beta

INFINITE = "infinite KL: a top-p nucleus leaves the other's"
ELSEWHERE = "; read the curve at fixed KL"  # advice of no use here: a target is a tilt at a fixed beta


@dataclass(frozen=True)
class Distances:
    """One KL of the base (first) and of K policies, equal 1-D arrays [1 + k], nats per reply, means over prompts.

    low, high : interval from a bootstrap over prompts; NaN where the KL is infinite. plugin : without correction.
    reason : "" where the estimate is reliable.
    """

    estimate: Array
    low: Array
    high: Array
    plugin: Array
    reliable: np.ndarray
    reason: np.ndarray


@dataclass(frozen=True)
class TargetDistances:
    """Both KLs, and how well the base's samples show the target: ess of each prompt [p], median Pareto k."""

    forward: Distances
    reverse: Distances
    ess: Array
    pareto_k: float


@dataclass(frozen=True)
class PolicyAtBase:
    """What is known of one policy, prompts in the base's order.

    log_ratio : log π/π₀ of the base's samples [p, m]. kl_of_base : KL(π₀‖π) of each prompt [p], nats. scores : the
    target's reward of the policy's own samples [p, m'], in the base's units. kl : KL(π‖π₀) of each prompt [p].
    """

    log_ratio: Array
    kl_of_base: Array
    scores: Array
    kl: Array


def target_distances(
    reward: ArrayLike,
    beta: float,
    policies: Sequence[PolicyAtBase],
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> TargetDistances:
    """Distances of the base and of each policy to the tilt of the base by `reward` at `beta`.

    Args:
        reward: of the base's samples [p, m], NaN = no such sample. beta: in its units.
        policies: one at least.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Raises:
        EstimateError: scores that cannot be used, or policies of other prompts or samples.
    """
    scores = check_scores(reward, "the target's")
    for i, policy in enumerate(policies):
        _check(policy, scores, i)
    ratios = [policy.log_ratio for policy in policies]
    leaves = np.array([np.isinf(ratio).any() for ratio in ratios])
    carried = [np.where(np.isnan(scores) | out, 0.0 * scores, u) for u, out in zip(ratios, leaves, strict=True)]
    m = CorrectedCurve(scores, carried, seed=seed, keys=keys).moments(np.array([1.0 / beta]))
    moved = m.gains[:, 0].copy()
    moved[:, 0] = 0.0  # the base's own log-ratio
    of_base, spent = (np.stack([getattr(p, name) for p in policies], axis=1) for name in ("kl_of_base", "kl"))
    gain = np.stack([prompt_means(p.scores) - prompt_means(scores) for p in policies], axis=1)
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    # the verdict without and with a correction too large for its interval
    verdict = judge(
        scores,
        np.full(2, 1.0 / beta),
        np.repeat(m.ess, 2, axis=1),
        doubtful=np.array([False, True]),
        share=m.share,
        reach=AT_BETA,
        clusters=boot.clusters,
    )
    why = np.array([reason.removesuffix(ELSEWHERE) for reason in verdict.reason], dtype=object)

    def distances(levels: Array, rest: Array) -> Distances:
        """From what is estimated at three levels [p, 1 + k, 3], and what policies add to it [p, k]."""
        corrected, missed = extrapolate_at_beta(np.moveaxis(levels, -1, 0))
        added = np.concatenate([np.zeros_like(m.ess), rest], axis=1)
        infinite = np.isinf(added).any(axis=0)
        added[:, infinite] = np.inf
        low, high = boot.interval(np.where(infinite, np.nan, corrected + added))
        doubtful = missed > MOST_MISSED * (high - low)
        reason = np.where(infinite, INFINITE, why[doubtful.astype(int)])
        plugin = (levels[..., 0] + added).mean(axis=0)
        return Distances((corrected + added).mean(axis=0), low, high, plugin, reason == "", reason)

    return TargetDistances(
        forward=distances(m.kl - moved, np.where(leaves, np.inf, of_base)),
        reverse=distances(np.repeat(m.reverse, 1 + len(policies), axis=1), spent - gain / beta),
        ess=m.ess[:, 0],
        pareto_k=float(verdict.pareto_k[0]),
    )


def _check(policy: PolicyAtBase, scores: Array, i: int) -> None:
    if policy.log_ratio.shape != scores.shape or np.isnan(policy.log_ratio[~np.isnan(scores)]).any():
        raise EstimateError(f"Policy {i} has log-ratios of other samples than the base's, or NaN.")
    check_scores(policy.scores, f"policy {i}")
    for name, each in (("KL", policy.kl), ("KL of the base", policy.kl_of_base)):
        if each.shape != (len(scores),) or np.isnan(each).any() or len(policy.scores) != len(scores):
            raise EstimateError(f"Policy {i} needs one {name} for each of the base's {len(scores)} prompts.")

"""How far policies are from a target that is a tilt of the base, π* = π₀ e^(r/β) / Z.

    forward   KL(π*‖π) = KL(π*‖π₀) − (E_π* u − E_π₀ u) + KL(π₀‖π),     u = log π/π₀,
    reverse   KL(π‖π*) = KL(π‖π₀) − (E_π r − E_π₀ r)/β + KL(π₀‖π*),

each a mean over prompts (docs/theory.md, "Distances to the target"). Expectations under π* are self-normalised sums
over base samples with weights e^(r/β). KL(π*‖π₀) and KL(π₀‖π*) are those of the frontier at β. KL(π‖π₀) and KL(π₀‖π)
are exact next-token KLs summed along samples of π and of π₀. The third term of each line takes the place of the mean of
a log-ratio over the samples of the second term, so most of the noise cancels: at π = π* both lines are log Ẑ minus its
first-order part.

Self-normalised sums have a bias that falls as 1/M. It is extrapolated away with halves and quarters of the samples, as
for the frontier's rows at β.

`targets_table` gives one row for each policy (π₀ first, as `base`) and each of the two distances. Figures and pages
read them through `distances`, with exact values where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, check_scores, prompt_means, sample_counts
from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, interval_at_beta
from alignment_limits.limits.correction import extrapolate_at_beta, left_at_beta
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.reliability import judge
from alignment_limits.policies.table import on_base_scale, per_prompt
from alignment_limits.study.objectives import in_order
from alignment_limits.tables.grid import Grid, reward_arrays
from alignment_limits.tables.schemas.limits import TARGETS, VALUES

LABELS = ("policy", "objective", "optimized", "coefficient", "seed", "setting", "pairs", "quantity")


def distances(targets: pl.DataFrame, exact: pl.DataFrame | None) -> pl.DataFrame:
    """Distances as figures and pages use them: exact values where there are any, else estimates.

    A policy without an objective has its name as its objective.

    Args:
        targets: `policies/targets.parquet`.
        exact: `exact/targets.parquet` of an enumerable study, or None.

    Returns:
        Labels, `value`, `low`, `high` (nats), `reliable`, `reason`. The interval of an exact value is the value itself.
    """
    if exact is None:
        rows = targets.select(*LABELS, "low", "high", "reliable", "reason", value="estimate")
    else:
        value = pl.col("exact")
        rows = exact.select(*LABELS, value=value, low=value, high=value, reliable=pl.lit(True), reason=pl.lit(""))
    return rows.with_columns(objective=pl.col("objective").fill_null(pl.col("policy")))


def with_exact(table: pl.DataFrame, exact: pl.DataFrame) -> pl.DataFrame:
    """A table of estimates with KL and gain, and the ends of their intervals, replaced by their exact values.

    Args:
        table: of estimates.
        exact: the table of `exact/` with the same name; rows without an exact value stay as they are.

    Returns:
        The table with the same columns.
    """
    keys = [c for c in exact.columns if c not in VALUES and c in table.columns]
    for quantity in ("gain", "kl"):  # a KL may be a key of gains
        on = [key for key in keys if key != quantity]
        values = exact.filter((pl.col("quantity") == quantity) & pl.col("exact").is_finite()).select(
            *on, _exact="exact"
        )
        places = [c for c in (quantity, f"{quantity}_low", f"{quantity}_high") if c in table.columns]
        table = table.join(values.unique(on), on=on, how="left", nulls_equal=True, maintain_order="left")
        table = table.with_columns(pl.coalesce("_exact", place).alias(place) for place in places).drop("_exact")
    return table


def chosen(rows: pl.DataFrame) -> pl.DataFrame:
    """Of policies learned from pairs, one recipe and coefficient for each objective, setting and number of pairs.

    It is the one with the smallest mean forward KL over the seeds, an oracle's choice that needs the target.

    Args:
        rows: from `distances`.

    Returns:
        Rows of the chosen runs, and of all policies that did not learn from pairs.
    """
    own = ["objective", "setting", "pairs"]
    learned = rows.filter(pl.col("pairs").is_not_null()).with_columns(_run=pl.col("policy").str.replace(r"-s\d+$", ""))
    best = (
        learned.filter(pl.col("quantity") == "forward_kl")
        .group_by(*own, "_run", maintain_order=True)
        .agg(pl.col("value").mean())
        .sort("value")
        .unique(own, keep="first", maintain_order=True)
    )
    kept = learned.filter(pl.col("_run").is_in(best["_run"].to_list())).drop("_run")
    return pl.concat([rows.filter(pl.col("pairs").is_null()), kept])


def objectives_of(rows: pl.DataFrame) -> list[str]:
    """Objectives of all policies except the base.

    Args:
        rows: from `distances`.

    Returns:
        Names: first the objectives of learning from preferences in their own order, then the others.
    """
    found = rows.filter(pl.col("policy") != "base")["objective"].unique(maintain_order=True).to_list()
    known = in_order(found)
    return known + [o for o in found if o not in known]


def main_setting(rows: pl.DataFrame) -> pl.DataFrame:
    """Policies learned from pairs as modelled (otherwise of the first setting), and those that used no pairs.

    Args:
        rows: from `distances`.

    Returns:
        Some of the rows.
    """
    settings = sorted(s for s in rows.filter(pl.col("pairs").is_not_null())["setting"].unique() if s is not None)
    first = next((s for s in settings if s.startswith("as-modelled")), settings[0] if settings else None)
    return rows.filter(pl.col("pairs").is_null() | pl.col("setting").eq_missing(pl.lit(first, pl.String)))


INFINITE = "infinite KL: a top-p nucleus leaves the other's"


@dataclass(frozen=True)
class Distances:
    """One KL of the base (first) and of K policies, equal 1-D arrays [1 + k], nats per reply, means over prompts.

    Attributes:
        estimate: corrected for finite samples.
        low, high: interval from a bootstrap over prompts; NaN where the KL is infinite.
        plugin: without correction.
        reliable, reason: the verdict, and the reason where not reliable ("" where reliable).
    """

    estimate: Array
    low: Array
    high: Array
    plugin: Array
    reliable: np.ndarray
    reason: np.ndarray


@dataclass(frozen=True)
class TargetDistances:
    """Both KLs, and how well base samples show the target.

    Attributes:
        forward: KL(π*‖π).
        reverse: KL(π‖π*).
        ess: effective samples of each prompt [p].
        pareto_k: of their weights, median over prompts.
    """

    forward: Distances
    reverse: Distances
    ess: Array
    pareto_k: float


@dataclass(frozen=True)
class PolicyAtBase:
    """What is known of one policy, prompts in the base's order.

    Attributes:
        log_ratio: log π/π₀ of the base samples [p, m], nats.
        kl_of_base: KL(π₀‖π) of each prompt [p], nats.
        scores: the target's reward of the policy's own samples [p, m'], in the base's units.
        kl: KL(π‖π₀) of each prompt [p], nats.
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
        reward: of the base samples [p, m]; NaN marks a missing sample.
        beta: temperature of the target, in units of the reward.
        policies: at least one.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        Both distances, the base first.

    Raises:
        EstimateError: scores that cannot be used, or policies of other prompts or samples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reward, own = rng.normal(size=(200, 64)), rng.normal(1.0, size=(200, 64))
        >>> tilted = PolicyAtBase(reward - 0.5, np.full(200, 0.5), own, np.full(200, 0.5))  # the tilt at β = 1 itself
        >>> target_distances(reward, 1.0, [tilted], replicates=200).forward.estimate.round(1)
        array([0.5, 0. ])

    References:
        docs/theory.md, "Distances to the target".
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
    verdict = judge(
        scores, np.array([1.0 / beta]), m.ess, share=m.share, clusters=boot.clusters, at_beta=np.zeros(1), widened=True
    )

    def distances(levels: Array, rest: Array) -> Distances:
        """From what is estimated at three levels [p, 1 + k, 3], and what policies add to it [p, k]."""
        three = np.moveaxis(levels, -1, 0)  # [3, p, 1 + k]
        corrected = extrapolate_at_beta(three)
        added = np.concatenate([np.zeros_like(m.ess), rest], axis=1)
        infinite = np.isinf(added).any(axis=0)
        added[:, infinite] = np.inf
        left = left_at_beta(three[:, :, None], m.ess, sample_counts(scores))[:, 0]
        low, high = interval_at_beta(boot, np.where(infinite, np.nan, corrected + added), left)
        reason = np.where(infinite, INFINITE, verdict.reason[0])
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


BASE = "base"


def policy_at_base(
    standardised: pl.DataFrame,
    scales: pl.DataFrame,
    reward: str,
    scores: pl.DataFrame,
    kl: pl.DataFrame,
    on_base: pl.DataFrame,
) -> PolicyAtBase:
    """What a policy's shards contain about it.

    Args:
        standardised: rewards of the base samples.
        scales: of these rewards.
        reward: name of the target's reward.
        scores: of the target's reward, of the policy's samples.
        kl: table `policy_kl` of the policy's samples.
        on_base: table `policy_kl` of the base samples, with base and policy exchanged.

    Returns:
        The policy's numbers, prompts in the base's order.

    Raises:
        ArtifactError: shards of other prompts or samples than the base has.
    """
    grid = Grid.of(standardised)
    if not on_base.select("prompt_id", "sample_id").equals(
        standardised.select("prompt_id", "sample_id").sort("prompt_id", "sample_id")
    ):
        raise ArtifactError("a policy has log-probabilities of other samples than the base; delete its on_base shards")
    if Grid.of(kl).prompt_ids != grid.prompt_ids:
        raise ArtifactError("a policy has other prompts than the base; delete its shards")
    base = reward_arrays(standardised, [reward])
    return PolicyAtBase(
        log_ratio=-Grid.of(on_base).array(on_base["log_ratio"]),
        kl_of_base=per_prompt(on_base, "kl"),
        scores=on_base_scale({reward: scores}, scales, base, {})[reward],
        kl=per_prompt(kl, "kl"),
    )


def targets_table(
    found: TargetDistances, labels: Mapping[str, Mapping[str, Any]], samples: int, *, reward: str, beta: float
) -> pl.DataFrame:
    """The table `targets`, policy by policy.

    Args:
        found: distances.
        labels: labels of each policy from the study file, in the order of `found`.
        samples: of a prompt.
        reward: name of the target's reward.
        beta: temperature of the target, in base standard deviations.

    Returns:
        Two rows for each policy, the base first.
    """
    size = float(np.median(found.ess))
    common = {
        "reward": reward,
        "beta": beta,
        "ess": size,
        "ess_least": float(found.ess.min()),
        "ess_share": size / samples,
        "pareto_k": found.pareto_k,
    }
    rows = []
    for i, (policy, said) in enumerate({BASE: {}, **labels}.items()):
        for quantity, of in (("forward_kl", found.forward), ("reverse_kl", found.reverse)):
            numbers = {name: float(getattr(of, name)[i]) for name in ("estimate", "low", "high", "plugin")}
            verdict = {"reliable": bool(of.reliable[i]), "reason": str(of.reason[i])}
            rows.append({"policy": policy, "quantity": quantity} | dict(said) | common | numbers | verdict)
    return pl.DataFrame(rows, schema=TARGETS.columns)

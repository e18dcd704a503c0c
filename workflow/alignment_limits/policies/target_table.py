"""From shards to the table `targets`: one row for each policy (π₀ first, as `base`) and each of two distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError
from alignment_limits.grid import Grid, reward_arrays
from alignment_limits.policies.table import on_base_scale, per_prompt
from alignment_limits.policies.target import PolicyAtBase, TargetDistances
from alignment_limits.schemas.targets import TARGETS

BASE = "base"


def policy_at_base(
    standardised: pl.DataFrame,
    scales: pl.DataFrame,
    reward: str,
    scores: pl.DataFrame,
    kl: pl.DataFrame,
    on_base: pl.DataFrame,
) -> PolicyAtBase:
    """What a policy's shards say of it.

    Args:
        standardised: rewards of the base's samples. scales: of these.
        scores: of the target's reward, of the policy's samples. kl: table `policy_kl` of these.
        on_base: table `policy_kl` of the base's samples, with the base and the policy in each other's place.

    Raises:
        ArtifactError: shards of other prompts or samples than the base has.
    """
    grid = Grid.of(standardised)
    if not on_base.select("prompt_id", "sample_id").equals(
        standardised.select("prompt_id", "sample_id").sort("prompt_id", "sample_id")
    ):
        raise ArtifactError("a policy was read on other samples than the base's; delete its shards in on_base")
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
    """The table, policy by policy.

    Args:
        labels: what the study file says of each policy, in the order that `found` has them. samples: of a prompt.
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

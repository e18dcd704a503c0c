"""From score and KL shards of several policies to the table `policies`: one row per policy and evaluated reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.artifacts import KEY
from alignment_limits.errors import ArtifactError
from alignment_limits.grid import Grid
from alignment_limits.limits.arrays import Array
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.ensembles import aggregate
from alignment_limits.limits.picks import judge_draws
from alignment_limits.limits.standardisation import apply_standardisation, standardise
from alignment_limits.policies.placement import mean_over_prompts, place
from alignment_limits.sampling.deviation import deviation

ESTIMATOR = "rao-blackwell"


def on_base_scale(
    scores: Mapping[str, pl.DataFrame],
    scales: pl.DataFrame,
    base: Mapping[str, Array],
    ensembles: Mapping[str, Mapping[str, Any]],
) -> dict[str, Array]:
    """A policy's rewards and ensembles [p, m], centred and scaled as the base's samples were.

    Args:
        scores: table `scores` of each reward, all of the same keys.
        scales: table `scales`: centre per prompt and scale of each reward on base samples.
        base: the rewards of the base's samples [p, m], standardised, prompts in sorted order.
        ensembles: members, aggregator and penalty of each.

    Raises:
        ArtifactError: the policy was sampled on other prompts than the base.
    """
    out: dict[str, Array] = {}
    for name, table in scores.items():
        grid, scale = Grid.of(table), scales.filter(pl.col("reward") == name).sort("prompt_id")
        if grid.prompt_ids != scale["prompt_id"].to_list():
            raise ArtifactError(f"reward {name}: a policy has other prompts than the base; delete its shards")
        out[name] = apply_standardisation(
            grid.array(table["score"]), scale["centre"].to_numpy(), float(scale["scale"][0]), name=name
        )
    for name, e in ensembles.items():
        combined = standardise(_combine(base, e), name=name)
        out[name] = apply_standardisation(_combine(out, e), combined.centre, combined.scale, name=name)
    return out


def _combine(rewards: Mapping[str, Array], ensemble: Mapping[str, Any]) -> Array:
    members = np.stack([rewards[member] for member in ensemble["members"]])
    return aggregate(members, ensemble["aggregator"], coefficient=ensemble["penalty"])


def per_prompt(kl: pl.DataFrame, column: str) -> Array:
    """Mean of a column of the table `policy_kl` over each prompt's replies [p], prompts in sorted order."""
    with np.errstate(invalid="ignore"):
        return np.nanmean(Grid.of(kl).array(kl[column]), axis=1)


def placements(
    base: Mapping[str, Array],
    policies: Mapping[str, Mapping[str, Array]],
    kl: Mapping[str, pl.DataFrame],
    *,
    replicates: int,
    seed: int,
    keys: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> pl.DataFrame:
    """One row per policy and reward or ensemble: where the policy stands.

    Args:
        base: every reward and ensemble of the base's samples [p, m], standardised.
        policies: the same of each policy's samples, from `on_base_scale`.
        kl: table `policy_kl` of each policy.
        replicates, seed, keys, clusters: as for `place`.
    """
    names = list(policies)
    spent, ratio = (np.stack([per_prompt(kl[p], c) for p in names], axis=1) for c in ("kl", "log_ratio"))
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "keys": keys, "clusters": clusters}
    boot = PromptBootstrap(len(spent), **draws)
    common: dict[str, Any] = {"policy": names}
    for column, values in (("kl", spent), ("kl_log_ratio", ratio)):
        common |= dict(zip((column, f"{column}_low", f"{column}_high"), mean_over_prompts(values, boot), strict=True))
        common[f"{column}_reliable"] = judge_draws("KL", values, boot) == ""
    common["kl_infinite"] = [float(kl[p]["kl"].is_infinite().mean()) for p in names]  # type: ignore[arg-type]
    rows = []
    for evaluated, scores in base.items():
        theirs = [policies[p][evaluated] for p in names]
        placed = place(scores, theirs, spent, **draws)
        rows.append(pl.DataFrame(common | placed.columns()).with_columns(evaluated=pl.lit(evaluated)))
    return pl.concat(rows).with_columns(kl_estimator=pl.lit(ESTIMATOR))


def labelled(
    table: pl.DataFrame,
    labels: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, pl.DataFrame],
    notes: Mapping[str, Sequence[str]],
    kl: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """Add what the study file and the replies say of each policy: its training, lengths, truncation, notes.

    logprob_deviation is the largest difference, over the policy's replies, between the log-probability that the
    sampling engine gave and the one that the KL was read with, in nats per reply.
    """
    rows = [
        {
            "policy": policy,
            **labels[policy],
            "truncation_rate": (s["finish_reason"] == "length").mean(),
            "mean_tokens": s["n_tokens"].mean(),
            "logprob_deviation": _apart(s, kl[policy]),
            "note": "; ".join(notes[policy]),
        }
        for policy, s in samples.items()
    ]
    types = {"objective": pl.String, "optimized": pl.String, "coefficient": pl.Float64, "seed": pl.Int64}
    return table.join(pl.DataFrame(rows, schema_overrides=types), on="policy", how="left", maintain_order="left")


def _apart(samples: pl.DataFrame, kl: pl.DataFrame) -> float:
    both = samples.select(*KEY, "n_tokens", drawn="logprob").join(kl.select(*KEY, "logprob"), on=KEY, validate="1:1")
    return deviation(both["drawn"], both["logprob"], both["n_tokens"]).largest

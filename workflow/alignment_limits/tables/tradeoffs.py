"""The estimators of `alignment_limits.tradeoffs` in the workflow: their tables are below results/<study>/tradeoffs/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.tables import costs, golds, verifiable
from alignment_limits.tables.costs import CLOSED_POLICIES as CLOSED_POLICIES
from alignment_limits.tables.costs import COST as COST
from alignment_limits.tables.costs import LABEL_NOISE as LABEL_NOISE
from alignment_limits.tables.estimators import Estimator, Scores
from alignment_limits.tables.golds import COMPROMISES as COMPROMISES
from alignment_limits.tables.golds import DIVERGENCES as DIVERGENCES
from alignment_limits.tables.golds import GOLDS as GOLDS
from alignment_limits.tables.grid import Grid
from alignment_limits.tables.sample_columns import BUILT_IN, CHARACTERS, TOKENS
from alignment_limits.tables.schemas.limits import contract, own_verdicts, with_interval
from alignment_limits.tables.verifiable import VERIFIABLE as VERIFIABLE
from alignment_limits.tradeoffs.length_control import LengthControlTable, length_control
from alignment_limits.tradeoffs.side_effects import SideEffectsTable, of_policy, side_effects

SIDE_EFFECTS = contract(
    "side_effects",
    SideEffectsTable,
    "optimized column kind method n policy kl kl_low kl_high base change change_low change_high samples "
    "reliable reason",
    {"reliable": ("kl", *with_interval("change"))},
    optimized=pl.String,  # of a policy, null if it is not known
    kind=pl.String,  # column: in its own units; reward: in base standard deviations
    policy=pl.String,  # of method "policy"
)

LENGTH_CONTROL = contract(
    "length_control",
    LengthControlTable,
    "optimized evaluated column tilt kl weight gain gain_low gain_high change change_low change_high lost lost_low "
    "lost_high explained explained_low explained_high reliable reason",
    {"reliable": with_interval("gain")} | own_verdicts("gain", "change", "lost", "explained"),
    optimized=pl.String,
    evaluated=pl.String,
    column=pl.String,  # what is held
)


def used(scores: Scores, named: Sequence[str]) -> list[str]:
    """The columns of a study: those that are made from the samples, as far as these show them, and the named ones."""
    return [name for name in dict.fromkeys([*BUILT_IN, *named]) if name in scores.tables["columns"].columns]


def _side_effects(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    columns = {name: a for name, a in scores.columns(used(scores, p["columns"])).items() if np.isfinite(a).any()}
    settings = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    for name in optimized:
        rewards = {other: scores.of[other] for other in p["evaluated"] if other != name}
        for kind, carried in (("column", columns), ("reward", rewards)):
            if carried:
                most = int(np.sum(~np.isnan(scores.of[name]), axis=1).max())
                ns = [n for n in p["best_of"] if n <= most] or [1]
                table = side_effects(scores.of[name], carried, kls=p["kls"], ns=ns, **settings)
                yield _labelled(table, name, kind, None)
    if "policy_columns" not in scores.tables:
        return
    boot = PromptBootstrap(len(scores.of[scores.gold]), **settings)
    placed = scores.tables["policies"].filter(pl.col("evaluated") == scores.gold)
    for row in placed.iter_rows(named=True):
        own = scores.tables["policy_columns"].filter(pl.col("policy") == row["policy"])
        grid, kl = Grid.of(own), (row["kl"], row["kl_low"], row["kl_high"])
        for name, base in columns.items():
            if name in own.columns:
                table = of_policy(name, base, grid.array(own[name]), kl, row["kl_reason"], boot)
                yield _labelled(table, row["optimized"], "column", row["policy"])


def _labelled(table: SideEffectsTable, optimized: str | None, kind: str, policy: str | None) -> pl.DataFrame:
    labels = {"optimized": optimized, "kind": kind, "policy": policy}
    return table.to_polars().with_columns(pl.lit(value, pl.String).alias(name) for name, value in labels.items())


def _side_effects_given(study: Any) -> dict[str, Any]:
    own = study.tradeoffs.side_effects
    return {"columns": own.columns, "optimized": own.optimized or study.reward_names, "evaluated": study.reward_names}


def _with_policies(study: Any) -> Sequence[str]:
    return ("columns", "policies", "policy_columns") if study.all_policies else ("columns",)


def _length_control(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings = {"kls": p["length_kls"], "replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    lengths = scores.columns([c for c in p["columns"] if c in scores.tables["columns"].columns])
    differing = [name for name, values in lengths.items() if _differs(values)]
    for name in optimized if differing else ():
        for evaluated in dict.fromkeys([name, scores.gold]):
            table = length_control(scores.of[name], lengths[differing[0]], scores.of[evaluated], **settings)
            labels = {"optimized": name, "evaluated": evaluated, "column": differing[0]}
            yield table.to_polars().with_columns(pl.lit(value).alias(key) for key, value in labels.items())


def _differs(values: np.ndarray) -> bool:
    """Whether a column differs within some prompt."""
    some = values[np.isfinite(values).any(axis=1)]
    return bool(np.any(np.nanmax(some, axis=1) > np.nanmin(some, axis=1))) if len(some) else False


def _length_control_given(study: Any) -> dict[str, Any]:
    own = study.tradeoffs.length_control
    return {
        "columns": [own.column] if own.column else [TOKENS, CHARACTERS],
        "optimized": own.optimized or study.reward_names,
        "length_kls": sorted(set(own.kls)),
    }


def _held(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    yield f"held: {table['column'][0]}" if table.height else "no length that differs within a prompt: nothing to hold"


ESTIMATORS = {
    "side_effects": Estimator(
        _side_effects,
        SIDE_EFFECTS,
        "all",
        ("kls", "best_of", "bootstrap"),
        "side_effects.parquet",
        folder="tradeoffs",
        reads=_with_policies,
        given=_side_effects_given,
    ),
    **costs.ESTIMATORS,
    **verifiable.ESTIMATORS,
    "length_control": Estimator(
        _length_control,
        LENGTH_CONTROL,
        "all",
        ("bootstrap",),
        "length_control.parquet",
        said=_held,
        folder="tradeoffs",
        reads=lambda study: ("columns",),
        given=_length_control_given,
    ),
    **golds.ESTIMATORS,
}

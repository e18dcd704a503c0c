"""Estimates of the ordinary pipeline beside the exact values: one row for each number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.enumerable.estimands import Everything, Row, Values
from alignment_limits.enumerable.values import mean
from alignment_limits.errors import ArtifactError
from alignment_limits.grid import Grid
from alignment_limits.limits.arrays import Array
from alignment_limits.limits.ensembles import aggregate
from alignment_limits.limits.standardisation import apply_standardisation

ROUNDING = 1e-6  # models are read in float32 by the pipeline, in float64 here


def on_study_scale(
    base: Array,
    scores: Mapping[str, Array],
    scales: Mapping[str, float],
    ensembles: Mapping[str, Mapping[str, Any]],
) -> dict[str, Array]:
    """Rewards and ensembles of every reply, centred by their exact means, in the study's units.

    A unit is the spread that the study found on its samples, a number on record: so exact values and estimates are in
    one unit. Ensembles are made of exactly centred members.

    Args:
        base: log π₀ [p, R]. scores: of every reply [p, R]. scales: unit of each reward and ensemble.
    """
    out: dict[str, Array] = {}
    for name, score in scores.items():
        out[name] = apply_standardisation(score, mean(base, score), scales[name], name=name)
    for name, e in ensembles.items():
        members = np.stack([out[member] for member in e["members"]])
        combined = aggregate(members, e["aggregator"], coefficient=e["penalty"])
        out[name] = apply_standardisation(combined, mean(base, combined), scales[name], name=name)
    return out


def beside(
    table: pl.DataFrame,
    keys: Sequence[str],
    exact: Callable[[Everything], Callable[[Row], Values]],
    own: Everything,
    population: Everything,
) -> pl.DataFrame:
    """Each quantity of each row: its estimate and interval, its exact value, and whether the interval holds it.

    Args:
        table: of estimates. keys: columns that name a row. exact: which values of `Everything` are meant.
        own: the study's prompts. population: all prompts of its source, which an interval speaks of.
    """
    rows = []
    for row in table.iter_rows(named=True):
        here, everywhere = exact(own)(row), exact(population)(row)
        for quantity, value in here.items():
            estimate, low, high = (_number(row, f"{quantity}{end}") for end in ("", "_low", "_high"))
            rows.append(
                {
                    **{key: row[key] for key in keys},
                    "quantity": quantity,
                    "estimate": estimate,
                    "low": low,
                    "high": high,
                    "exact": value,
                    "population": everywhere[quantity],
                    "holds_exact": _holds(low, value, high),
                    "holds_population": _holds(low, everywhere[quantity], high),
                }
            )
    types = {key: table.schema[key] for key in keys} | {"holds_exact": pl.Boolean, "holds_population": pl.Boolean}
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return np.nan if value is None else float(value)


def _holds(low: float, value: float, high: float) -> bool | None:
    """None where there is no interval."""
    return low - ROUNDING <= value <= high + ROUNDING if np.isfinite([low, value, high]).all() else None


def every_reply(table: pl.DataFrame, column: str, prompt_ids: Sequence[str]) -> Array:
    """A column of a long table of all replies as [p, R], in the order of the prompts given.

    Raises:
        ArtifactError: a prompt or a reply is missing.
    """
    grid = Grid.of(table)
    array, place = grid.array(table[column]), {name: i for i, name in enumerate(grid.prompt_ids)}
    absent = [name for name in prompt_ids if name not in place]
    if absent or np.isnan(array).any():
        raise ArtifactError(f"not every reply of every prompt is there (prompts missing: {absent[:3]}); run again")
    return np.asarray(array[[place[name] for name in prompt_ids]])

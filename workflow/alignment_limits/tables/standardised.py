"""All rewards and ensembles of base samples on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import aggregate, standardise
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.grid import CLUSTER, Grid, reward_arrays, same_keys


def standardised_tables(
    scores: Mapping[str, pl.DataFrame], clusters: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rewards on one scale: the tables `standardised` and `scales`.

    Args:
        scores: table of each reward (`SCORES`), with equal keys.
        clusters: prompt_id and cluster, if prompts are not independent.

    Raises:
        ArtifactError: the rewards have different samples.
        EstimateError: a reward is constant.
    """
    table = same_keys(scores).select(KEY)
    grid = Grid.of(table)
    scales = []
    for name, raw in scores.items():
        standard = standardise(grid.array(raw["score"]), name=name)
        table = table.with_columns(pl.Series(name, grid.values(standard.scores)))
        columns = {"reward": name, "prompt_id": grid.prompt_ids, "centre": standard.centre, "scale": standard.scale}
        scales.append(pl.DataFrame(columns))
    return with_clusters(table, clusters), pl.concat(scales)


def with_clusters(table: pl.DataFrame, clusters: pl.DataFrame | None) -> pl.DataFrame:
    """A table of prompts with the cluster of each, if any has one."""
    if clusters is None or "cluster" not in clusters.columns or not clusters["cluster"].count():
        return table
    return table.join(clusters.select("prompt_id", pl.col("cluster").alias(CLUSTER)), on="prompt_id", how="left")


def with_ensembles(table: pl.DataFrame, ensembles: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """The table `standardised` with a column for each ensemble, on the same scale.

    Args:
        ensembles: members, aggregator and penalty of each.
    """
    grid = Grid.of(table)
    for name, ensemble in ensembles.items():
        members = np.stack(list(reward_arrays(table, ensemble["members"]).values()))
        scores = aggregate(members, ensemble["aggregator"], coefficient=ensemble["penalty"])
        table = table.with_columns(pl.Series(name, grid.values(standardise(scores, name=name).scores)))
    return table


def scales_of(scales: pl.DataFrame) -> dict[str, float]:
    """The scale of each reward: one base standard deviation in its own units.

    Args:
        scales: `ensembles/scales.parquet`.
    """
    return dict(scales.select("reward", "scale").unique("reward").iter_rows())

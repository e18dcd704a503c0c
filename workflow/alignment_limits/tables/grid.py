"""Long tables as arrays (prompts × samples) and back. Joins use the key, never the row order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError
from alignment_limits.tables.artifacts import KEY, read_tables
from alignment_limits.tables.schemas.samples import SCORES

CLUSTER = "prompt_cluster"  # column of the table `standardised` if a study's prompts have clusters


@dataclass(frozen=True)
class Grid:
    """Rows of a long table as cells of an array (prompts × samples).

    Prompts and samples are in sorted order; a prompt with fewer samples than another is NaN-padded.
    """

    prompt_ids: list[str]
    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, table: pl.DataFrame) -> Grid:
        """The grid of a table that has the key's columns."""
        prompts, row = np.unique(table["prompt_id"].to_numpy().astype(str), return_inverse=True)
        samples, column = np.unique(table["sample_id"].to_numpy(), return_inverse=True)
        return cls(prompts.tolist(), row, column, (len(prompts), len(samples)))

    def array(self, values: pl.Series) -> np.ndarray:
        """A column as an array (prompts × samples), NaN where there is no row."""
        out = np.full(self.shape, np.nan)
        out[self.row, self.column] = values.to_numpy()
        return out

    def values(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `array`: a value for each row of the table."""
        return np.asarray(array[self.row, self.column])


def read_scores(paths: Sequence[str | Path], reward: str, bounds: tuple[float, float] | None = None) -> pl.DataFrame:
    """All score shards of a reward, in key order.

    Raises:
        ArtifactError: a score is missing, NaN, infinite or outside the bounds.
    """
    scores = read_tables(paths, SCORES)
    bad = scores.filter(~pl.col("score").is_finite().fill_null(False))
    if bad.height:
        first = bad.row(0, named=True)
        raise ArtifactError(
            f"reward {reward}: {bad.height} score(s) are not finite numbers, the first at {first['prompt_id']}, "
            f"sample {first['sample_id']}"
        )
    if bounds is not None and (outside := scores.filter(~pl.col("score").is_between(*bounds))).height:
        first = outside.row(0, named=True)
        raise ArtifactError(
            f"reward {reward}: {outside.height} score(s) are outside its bounds, {bounds[0]:g} to {bounds[1]:g}, the "
            f"first is {first['score']:g} at {first['prompt_id']}, sample {first['sample_id']}. Correct the bounds in "
            "the study file, or remove them"
        )
    return scores


def same_keys(scores: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The first table, after a check that all contain the same keys in the same order.

    Raises:
        ArtifactError: a reward has other keys than the first. The message gives the first one.
    """
    (first_name, first), *others = scores.items()
    for name, table in others:
        if not table.select(KEY).equals(first.select(KEY)):
            lacks = first.join(table, on=KEY, how="anti").select(KEY).rows()
            extra = table.join(first, on=KEY, how="anti").select(KEY).rows()
            what = f"lacks {len(lacks)} key(s) such as {lacks[:1]}, has {len(extra)} that {first_name} lacks"
            raise ArtifactError(f"reward {name} {what} {extra[:1]}; delete its scores and run again")
    return first


def standardised_bounds(
    scales: pl.DataFrame, bounds: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The lowest and the highest standardised score of each prompt (P,), in the order of `reward_arrays`'s rows.

    Args:
        scales: table `scales`.
        bounds: of the rewards' own scores.
    """
    out = {}
    for name, ends in bounds.items():
        own = scales.filter(pl.col("reward") == name).sort("prompt_id")
        centre, scale = own["centre"].to_numpy(), float(own["scale"][0])
        out[name] = ((ends[0] - centre) / scale, (ends[1] - centre) / scale)
    return out


def reward_arrays(table: pl.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of the table `standardised` as arrays (prompts × samples), NaN-padded.

    Raises:
        ArtifactError: no such column.
    """
    absent = [n for n in names if n not in table.columns]
    if absent:
        raise ArtifactError(f"the standardised rewards lack {', '.join(absent)}; run the rule `standardise`")
    grid = Grid.of(table)
    return {name: grid.array(table[name]) for name in names}


def prompt_key(prompt_id: str) -> int:
    """A 63-bit integer for a prompt, from its id alone (SHA-256); the same in memory and in streams.

    Random splits are seeded by it, so they do not depend on a prompt's position or on a study's other prompts. The
    probability that two of 10^7 prompts share one is 1 in 180,000.
    """
    return int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:8], "big") >> 1


def prompt_clusters(table: pl.DataFrame) -> np.ndarray | None:
    """Each prompt's cluster (P,), in the order of `reward_arrays`'s rows; None where the study has none.

    A prompt without a cluster is independent of all others, and gets a cluster of its own.
    """
    if CLUSTER not in table.columns:
        return None
    each = table.select("prompt_id", CLUSTER).unique("prompt_id").sort("prompt_id")
    own = pl.format("prompt {}", "prompt_id")
    return np.asarray(each.select(pl.format("cluster {}", CLUSTER).fill_null(own)).to_series().to_list(), dtype=object)


def prompt_keys(table: pl.DataFrame) -> np.ndarray:
    """`prompt_key` of every prompt (P,), in the order of `reward_arrays`'s rows."""
    ids = np.unique(table["prompt_id"].to_numpy().astype(str))
    return np.array([prompt_key(i) for i in ids], dtype=np.int64)

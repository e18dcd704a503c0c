"""Read a user's table of scores: any row order, any number of samples per prompt, nothing silently mended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from alignment_limits.artifacts import KEY
from alignment_limits.errors import ArtifactError
from alignment_limits.user_table import numbers, read_user_table, refuse, whole_numbers


def read_score_table(file: Path, rewards: Sequence[str]) -> pl.DataFrame:
    """A table with prompt_id (text), sample_id (whole number) and one number column per reward.

    Returns:
        the key and the rewards, in key order, rewards as float64.

    Raises:
        ArtifactError: not readable, a column is missing or holds no numbers, a key is missing or occurs twice, a
            score is missing, NaN or infinite; with the file, the column and the first rows (counted from 1).
    """
    table = read_user_table(file)
    missing = [c for c in (*KEY, *rewards) if c not in table.columns]
    if missing:
        raise ArtifactError(
            f"{file} has no column {', '.join(missing)}; it has: {', '.join(table.columns)}. It needs prompt_id, "
            "sample_id and one column per reward named in the study"
        )
    if not table.height:
        raise ArtifactError(f"{file} has no rows")
    for column in KEY:
        refuse(table[column].is_null(), file, f"{column} is missing")
    table = table.select(
        pl.col("prompt_id").cast(pl.String),
        whole_numbers(table["sample_id"], file),
        *(numbers(table[reward], file) for reward in rewards),
    )
    for reward in rewards:
        refuse(~table[reward].is_finite().fill_null(False), file, f"'{reward}' is missing, NaN or infinite")
    twice = table.select(pl.struct(KEY).is_duplicated()).to_series()
    refuse(twice, file, "the same prompt_id and sample_id occur more than once")
    return table.sort(KEY)

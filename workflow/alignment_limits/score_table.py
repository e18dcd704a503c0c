"""Read a user's table of scores: any row order, any number of samples per prompt, nothing silently mended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from alignment_limits.artifacts import KEY
from alignment_limits.errors import ArtifactError


def read_score_table(file: Path, rewards: Sequence[str]) -> pl.DataFrame:
    """A table with prompt_id (text), sample_id (whole number) and one number column per reward.

    Returns:
        the key and the rewards, in key order, rewards as float64.

    Raises:
        ArtifactError: not readable, a column is missing or holds no numbers, a key is missing or occurs twice, a
            score is missing, NaN or infinite; with the file, the column and the first rows (counted from 1).
    """
    table = _read(file)
    missing = [c for c in (*KEY, *rewards) if c not in table.columns]
    if missing:
        raise ArtifactError(
            f"{file} has no column {', '.join(missing)}; it has: {', '.join(table.columns)}. It needs prompt_id, "
            "sample_id and one column per reward named in the study"
        )
    if not table.height:
        raise ArtifactError(f"{file} has no rows")
    for column in KEY:
        _refuse(table[column].is_null(), file, f"{column} is missing")
    table = table.select(
        pl.col("prompt_id").cast(pl.String),
        _whole(table["sample_id"], file),
        *(_number(table[reward], file) for reward in rewards),
    )
    for reward in rewards:
        _refuse(~table[reward].is_finite().fill_null(False), file, f"'{reward}' is missing, NaN or infinite")
    twice = table.select(pl.struct(KEY).is_duplicated()).to_series()
    _refuse(twice, file, "the same prompt_id and sample_id occur more than once")
    return table.sort(KEY)


def _read(file: Path) -> pl.DataFrame:
    if file.suffix not in (".parquet", ".csv"):
        raise ArtifactError(f"{file}: a table of scores is .parquet or .csv, not '{file.suffix}'")
    try:
        if file.suffix == ".csv":  # ids that look like numbers stay text; types are judged over the whole file
            return pl.read_csv(file, schema_overrides={"prompt_id": pl.String}, infer_schema_length=None)
        return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{file} cannot be read as {file.suffix[1:]}: {error}") from error


def _number(given: pl.Series, file: Path) -> pl.Series:
    number = given.cast(pl.Float64, strict=False)
    bad = number.is_null() & given.is_not_null()
    _refuse(bad, file, f"'{given.name}' is no number" + (f" ({given.filter(bad)[0]!r})" if bad.any() else ""))
    return number


def _whole(given: pl.Series, file: Path) -> pl.Series:
    number = _number(given, file)
    _refuse((number != number.round()) | (number < 0), file, f"'{given.name}' is no whole number from 0 on")
    return number.cast(pl.Int32)


def _refuse(bad: pl.Series, file: Path, what: str, most: int = 5) -> None:
    rows = [i + 1 for i in bad.arg_true()[:most]]
    if rows:
        more = int(bad.sum()) - len(rows)
        shown = ", ".join(map(str, rows)) + (f" and {more} more" if more else "")
        raise ArtifactError(f"{file}: {what}, in row {shown}")

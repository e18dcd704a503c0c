"""What every table brought by a user goes through: read as it is, refused with the file and the rows named."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from alignment_limits.errors import ArtifactError


def read_user_table(file: Path) -> pl.DataFrame:
    """A Parquet or CSV file as it is; prompt_id is text even where it looks like a number."""
    if file.suffix not in (".parquet", ".csv"):
        raise ArtifactError(f"{file}: a table of scores is .parquet or .csv, not '{file.suffix}'")
    try:
        if file.suffix == ".csv":  # ids that look like numbers stay text; types are judged over the whole file
            return pl.read_csv(file, schema_overrides={"prompt_id": pl.String}, infer_schema_length=None)
        return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{file} cannot be read as {file.suffix[1:]}: {error}") from error


def numbers(given: pl.Series, file: Path) -> pl.Series:
    """A column as float64; what is no number is refused."""
    number = given.cast(pl.Float64, strict=False)
    bad = number.is_null() & given.is_not_null()
    refuse(bad, file, f"'{given.name}' is no number" + (f" ({given.filter(bad)[0]!r})" if bad.any() else ""))
    return number


def whole_numbers(given: pl.Series, file: Path) -> pl.Series:
    """A column as whole numbers from 0 on; others are refused."""
    number = numbers(given, file)
    refuse((number != number.round()) | (number < 0), file, f"'{given.name}' is no whole number from 0 on")
    return number.cast(pl.Int32)


def refuse(bad: pl.Series, file: Path, what: str, most: int = 5) -> None:
    """Raise an ArtifactError that names the first rows (counted from 1) where `bad` is true, if there are any."""
    rows = [i + 1 for i in bad.arg_true()[:most]]
    if rows:
        more = int(bad.sum()) - len(rows)
        shown = ", ".join(map(str, rows)) + (f" and {more} more" if more else "")
        raise ArtifactError(f"{file}: {what}, in row {shown}")

"""`python -m alignment_limits.nested_scores OUT.parquet FILE.json… [--scores COLUMN…] [--samples N]`

One row a prompt with lists of scores, as ensembles of reward models are published, to the table of a
scores-only study: one row a sample.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from alignment_limits.errors import AlignmentLimitsError, TableError
from alignment_limits.files import atomic, refuse_to_overwrite
from alignment_limits.tables.columns import Column, numbers, raise_first
from alignment_limits.tables.opening import stem_of
from alignment_limits.tables.user_table import read_user_table


def unnest(files: Sequence[Path], columns: Sequence[str], samples: int | None = None) -> pl.DataFrame:
    """prompt_id (file and row), sample_id and one column per list of scores.

    Args:
        files: JSON, JSONL or Parquet, a record a row.
        columns: lists of scores, equally long within a record.
        samples: only the first so many of each record.

    Raises:
        TableError: a record lacks a column, its lists differ in length or hold no finite numbers; named with its row.
    """
    tables = []
    for file in files:
        given = read_user_table(file, file.name)
        if lacking := [c for c in columns if c not in given.columns]:
            raise TableError(f"{file.name}: record 1 has no list '{lacking[0]}', but: {', '.join(given.columns)}")
        for row, lists in enumerate(zip(*(given.values(c) for c in columns), strict=True)):
            if absent := [c for c, scores in zip(columns, lists, strict=True) if not isinstance(scores, list)]:
                raise TableError(f"{file.name}: record {row + 1} has no list '{absent[0]}'")
            if len(set(map(len, lists))) != 1:
                raise TableError(f"{file.name}: the lists of record {row + 1} differ in length")
            one = pl.DataFrame(
                [
                    _scores(f"{file.name}: record {row + 1}", Column.of_json(c, scores[:samples]))
                    for c, scores in zip(columns, lists, strict=True)
                ]
            ).with_row_index("sample_id")
            tables.append(one.select(pl.lit(f"{stem_of(file)}-{row:05d}").alias("prompt_id"), pl.all()))
    return pl.concat(tables).with_columns(pl.col("sample_id").cast(pl.Int32))


def _scores(where: str, column: Column) -> pl.Series:
    values, problems = numbers(column)
    raise_first(problems, where)
    return values.cast(pl.Float64)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--scores", nargs="+", default=["gold_scores"])
    parser.add_argument("--samples", type=int)
    given = parser.parse_args()
    try:
        refuse_to_overwrite(given.out, given.files)
        table = unnest(given.files, given.scores, given.samples)
        with atomic(given.out) as temporary:
            table.write_parquet(temporary)
    except AlignmentLimitsError as error:
        sys.exit(f"error: {error}")

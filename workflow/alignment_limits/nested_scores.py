"""`python -m alignment_limits.nested_scores OUT.parquet FILE.json… [--scores COLUMN…] [--samples N]`

One row a prompt with lists of scores, as ensembles of reward models are published, to the table of a
scores-only study: one row a sample.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from alignment_limits.errors import AlignmentLimitsError, ArtifactError
from alignment_limits.files import atomic, refuse_to_overwrite


def unnest(files: Sequence[Path], columns: Sequence[str], samples: int | None = None) -> pl.DataFrame:
    """prompt_id (file and row), sample_id and one column per list of scores.

    Args:
        files: JSON (a list of records) or JSONL.
        columns: lists of scores, equally long within a record.
        samples: only the first so many of each record.

    Raises:
        ArtifactError: a record lacks a column, or its lists differ in length; named with its row.
    """
    tables = []
    for file in files:
        text = file.read_text("utf-8")
        records = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
        for row, record in enumerate(records):
            lacking = [c for c in columns if not isinstance(record.get(c), list)]
            if lacking:
                raise ArtifactError(
                    f"{file.name}: record {row + 1} has no list '{lacking[0]}', but: {', '.join(record)}"
                )
            lists = {c: [float(x) for x in record[c][:samples]] for c in columns}
            if len({len(x) for x in lists.values()}) != 1:
                raise ArtifactError(f"{file.name}: the lists of record {row + 1} differ in length")
            one = pl.DataFrame(lists).with_row_index("sample_id")
            tables.append(one.select(pl.lit(f"{file.stem}-{row:05d}").alias("prompt_id"), pl.all()))
    return pl.concat(tables).with_columns(pl.col("sample_id").cast(pl.Int32))


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

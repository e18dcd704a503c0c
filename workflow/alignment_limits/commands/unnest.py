"""`alignment-limits unnest OUT.parquet FILE.json… [--scores COLUMN…] [--samples N]`: one row a sample.

One row a prompt with lists of scores, as ensembles of reward models are published, becomes the table of a scores-only
study.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alignment_limits.files import atomic, refuse_to_overwrite
from alignment_limits.tables.scores import unnest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", type=Path, help="the table to write, Parquet")
    parser.add_argument("files", type=Path, nargs="+", help="JSON, JSONL or Parquet, a record a prompt")
    parser.add_argument("--scores", nargs="+", default=["gold_scores"], help="columns with lists of scores")
    parser.add_argument("--samples", type=int, help="only the first so many of each record")


def run(arguments: argparse.Namespace) -> None:
    """Write the table.

    Raises:
        AlignmentLimitsError: a file cannot be read, or would be overwritten.
    """
    refuse_to_overwrite(arguments.out, arguments.files)
    table = unnest(arguments.files, arguments.scores, arguments.samples)
    with atomic(arguments.out) as temporary:
        table.write_parquet(temporary)

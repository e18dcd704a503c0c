"""Commands about tables of scores: the frontier of tables that do not fit in memory; lists of scores as rows."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.files import atomic, refuse_to_overwrite, sweep_of
from alignment_limits.limits.reliability import log_m_ceiling
from alignment_limits.limits.streaming.reader import read_frontier
from alignment_limits.limits.streaming.sums import FrontierSums, octaves
from alignment_limits.study.estimates import Limits
from alignment_limits.tables.artifacts import read_provenance, versions, write_table
from alignment_limits.tables.estimates import FRONTIER
from alignment_limits.tables.scores import unnest
from alignment_limits.tables.streaming import (
    continue_sums,
    merge_files,
    row_count,
    stream_prompts,
    table_digest,
    write_sums,
)

KEEP = 30.0  # seconds between writes of an unfinished part
MADE = {"stage": "stream", "versions": versions(["alignment-limits", "polars", "numpy", "numba"])}


class Progress:
    """Prints the rows done: on a terminal twice a second, to a file every half minute."""

    def __init__(self, rows: int) -> None:
        self.rows, self.done, self.start = rows, 0, time.monotonic()
        self.every = 0.5 if sys.stderr.isatty() else 30.0
        self.last = self.start

    def __call__(self, rows: int) -> None:
        self.done += rows
        now = time.monotonic()
        if now - self.last < self.every and self.done < self.rows:
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        line = f"{self.done / self.rows:4.0%}  {self.done:,} of {self.rows:,} rows, {rate / 1e6:.1f} million a second, "
        line += f"{(self.rows - self.done) / rate:,.0f} s left"
        end = "\r" if sys.stderr.isatty() and self.done < self.rows else "\n"
        print(line, end=end, file=sys.stderr, flush=True)


def sum_tables(
    tables: Sequence[str],
    optimized: str,
    evaluated: Sequence[str],
    *,
    betas: Sequence[float] = (),
    scale: float = 1.0,
    seed: int = 0,
    part: Path | None = None,
    bounds: tuple[float, float] | None = None,
) -> FrontierSums:
    """Partial sums of complete tables. `betas` are added to the grid `octaves(scale)`, so that they have rows.

    `bounds`: the lowest and the highest score of the optimized reward.

    The sums are written to `part`, also while unfinished. An existing part is continued after the tables it contains.
    Interruptions do not change the result.
    """
    names = list(dict.fromkeys([optimized, *evaluated]))
    grid = np.concatenate([octaves(scale), np.asarray(betas, dtype=np.float64)])
    sums = FrontierSums.empty(names, grid, seed, bounds=bounds)
    checked = {} if bounds is None else {optimized: bounds}
    if twice := sorted({table for table in tables if tables.count(table) > 1}):
        raise ArtifactError(f"{', '.join(twice)}: given twice; give each table once")
    done: dict[str, str] = {}
    if part is not None:
        sums, done = continue_sums(sums, part, tables, lambda table: table_digest(table, names))
    left = [table for table in tables if table not in done]
    progress = Progress(row_count(left, names))
    written = time.monotonic()
    for table in left:
        digest = "" if part is None else table_digest(table, names)  # before reading, so that later edits are noticed
        try:
            for prompts in stream_prompts(table, names, progress, earlier=list(done), known=sums.keys, bounds=checked):
                sums.add(prompts.keys, prompts.counts, prompts.columns)
        except EstimateError as error:
            raise ArtifactError(f"{table}: {error}") from error
        done[table] = digest
        if part is not None and (table == left[-1] or time.monotonic() - written > KEEP):
            write_sums(sums, part, MADE | {"tables": done})
            written = time.monotonic()
    return sums


def frontier_table(
    sums: FrontierSums, *, kls: Sequence[float], betas: Sequence[float] = (), level: float = 0.95
) -> pl.DataFrame:
    """The frontier in the contract's columns, with a block of rows per evaluated reward."""
    tables = read_frontier(sums, kls, betas=betas, level=level)
    log_m = log_m_ceiling(sums.specimens.scores)
    return pl.concat(
        table.to_polars().with_columns(
            optimized=pl.lit(sums.names[0]), evaluated=pl.lit(name), samples_from=pl.lit("base"), log_m=pl.lit(log_m)
        )
        for name, table in tables.items()
    )


def stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both uses."""
    commands = parser.add_subparsers(dest="use", required=True, metavar="sum | merge")
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--out", type=Path, required=True)
    grids = Limits.model_validate({})
    both.add_argument(
        "--betas", type=float, nargs="*", default=grids.betas, help="betas for further rows; the same for every part"
    )
    add = commands.add_parser("sum", parents=[both], help="sum some tables into a part")
    add.add_argument("--optimized", required=True, help="the reward the policy is tilted by")
    add.add_argument("--evaluated", nargs="*", default=[], help="further rewards whose gain is estimated")
    add.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="typical within-prompt sd of the optimized reward, the same for every part; sets the grid of betas",
    )
    add.add_argument(
        "--bounds",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the lowest and the highest possible score of the optimized reward, the same for every part; they give "
        "upper bounds of the limit",
    )
    add.add_argument("--seed", type=int, default=0, help="seed of the split into quarters; the same for every part")
    add.add_argument(
        "--tables",
        nargs="+",
        required=True,
        help="Parquet files with a column per reward, or a file per reward: .../{reward}/...",
    )
    join = commands.add_parser("merge", parents=[both], help="compute the frontier from all parts")
    join.add_argument("--kls", type=float, nargs="*", default=grids.kls, help="KL budgets in nats")
    join.add_argument("--level", type=float, default=0.95, help="confidence level of the intervals")
    join.add_argument("--parts", nargs="+", required=True)


def _is_merged(file: Path) -> bool:
    """Whether a file is an earlier output of `merge`."""
    try:
        made = read_provenance(file)
    except ArtifactError:
        return False
    return made.get("stage") == MADE["stage"] and "parts" in made


def _size(sums: FrontierSums) -> str:
    few = f", {sums.left_out:,} more left out (fewer than 16 samples)" if sums.left_out else ""
    return f"{sums.prompts.sum():,} prompts{few}, {sums.samples:,} samples"


def run_stream(a: argparse.Namespace) -> None:
    """The frontier of tables of scores that do not fit in memory, on one machine or several.

        alignment-limits stream sum --optimized rm --evaluated human --out part-1.npz --tables 1.parquet ...
        alignment-limits stream merge --out frontier.parquet --parts part-1.npz part-2.npz ...

    See docs/streaming.md. Results do not depend on how prompts are divided among files, parts or machines.
    """
    sweep_of(a.out)
    if a.use == "sum":
        if a.out.suffix != ".npz":
            raise ArtifactError(f"{a.out}: partial sums are an .npz file; use --out with this suffix")
        if a.out.exists():  # a part is continued; other files are refused
            refuse_to_overwrite(a.out, a.tables, unless=lambda _: True)
        start = time.monotonic()
        grids = {"betas": a.betas, "scale": a.scale, "seed": a.seed, "bounds": a.bounds and tuple(a.bounds)}
        sums = sum_tables(a.tables, a.optimized, a.evaluated, part=a.out, **grids)
        seconds = time.monotonic() - start
        print(f"{a.out}: {_size(sums)} in {seconds:.0f} s", file=sys.stderr)
    else:
        if a.out.suffix != ".parquet":
            raise ArtifactError(f"{a.out}: the frontier is a .parquet file; use --out with this suffix")
        refuse_to_overwrite(a.out, a.parts, unless=_is_merged)
        sums = merge_files(a.parts)
        table = frontier_table(sums, kls=a.kls, betas=a.betas, level=a.level)
        write_table(table, a.out, FRONTIER, MADE | {"parts": sorted(a.parts), "seed": sums.seed})
        print(f"{a.out}: {_size(sums)}", file=sys.stderr)
        for reason, count in table.filter(~pl.col("reliable"))["reason"].value_counts(sort=True).iter_rows():
            print(f"  {count} row(s) not reliable: {reason}", file=sys.stderr)


def unnest_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", type=Path, help="the table to write, Parquet")
    parser.add_argument("files", type=Path, nargs="+", help="JSON, JSONL or Parquet, with one record per prompt")
    parser.add_argument("--scores", nargs="+", default=["gold_scores"], help="columns with lists of scores")
    parser.add_argument("--samples", type=int, help="use only so many scores of each record, from the first")


def run_unnest(arguments: argparse.Namespace) -> None:
    """`alignment-limits unnest OUT.parquet FILE.json… [--scores COLUMN…] [--samples N]`: one row per sample.

    Converts a file with one row per prompt and lists of scores, a common format of published scores of reward
    models, to the table of a scores-only study."""
    refuse_to_overwrite(arguments.out, arguments.files)
    table = unnest(arguments.files, arguments.scores, arguments.samples)
    with atomic(arguments.out) as temporary:
        table.write_parquet(temporary)

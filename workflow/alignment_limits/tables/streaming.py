"""Tables that do not fit in memory: scores read in batches of complete prompts, partial sums of the frontier as files.

A table of scores is one Parquet file with prompt_id, sample_id and a column per reward. It can also be one file per
reward in the contract's columns (prompt_id, sample_id, score), given as a name with {reward} in it. The rows of a
prompt must be adjacent, in one file. Prompts may have different numbers of samples, in any order. Memory use is a few
row groups, and 16 bytes per prompt. Partial sums are .npz files, so that machines can share the work.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from alignment_limits.errors import ArtifactError, EstimateError, TableError
from alignment_limits.files import atomic, digest, file_sha256
from alignment_limits.limits.streaming.sums import FrontierSums, Specimens, merge
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.columns import RULES, Column, Problem
from alignment_limits.tables.grid import prompt_key
from alignment_limits.tables.scores import NEEDED, NO_BOUNDS, Bounds, checked_scores, repeated
from alignment_limits.tables.user_table import polars_errors, read_user_table

BATCH = 1 << 18  # rows
_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Prompts:
    """Some complete prompts: keys and sample counts (P,), and each reward's scores, prompt after prompt."""

    keys: np.ndarray
    counts: np.ndarray
    columns: list[np.ndarray]


def row_count(tables: Sequence[str], rewards: Sequence[str]) -> int:
    """The number of rows of all tables, from the files' metadata."""
    return sum(_table(table, rewards)[1] for table in tables)


def table_digest(table: str, rewards: Sequence[str]) -> str:
    """A hash of all bytes of a table's files, as a Parquet file's footer does not show an edited score.

    Raises:
        ArtifactError: a file does not exist.
    """
    try:
        return digest([file_sha256(file) for file in _files(table, rewards).values()])
    except FileNotFoundError as error:
        raise ArtifactError(f"{error.filename} does not exist") from error


def stream_prompts(
    table: str,
    rewards: Sequence[str],
    seen: Callable[[int], None] = lambda rows: None,
    *,
    earlier: Sequence[str] = (),
    known: np.ndarray = _NONE,
    bounds: Bounds = NO_BOUNDS,
) -> Iterator[Prompts]:
    """Prompts of a table, in batches of about 262,144 rows; `seen` is called with the number of rows of each.

    Args:
        earlier: tables already read. `known`: the keys of their prompts, ascending; none may occur again.
        bounds: the lowest and the highest score of rewards that have bounds.

    Raises:
        ArtifactError: not readable, a column is missing or does not contain numbers, a score is missing, NaN, infinite
            or outside its bounds, a key is missing or occurs twice, a prompt's rows are not adjacent or are in two
            files; with the file and the row (counted from 1).
    """
    frame, _ = _table(table, rewards)
    rows = _Rows(table, rewards, bounds)
    first = 1
    keys, starts = [], []
    try:
        for batch in _batches(frame, table):
            for prompts, start in rows.take(batch, first):
                keys.append(prompts.keys)
                starts.append(start + np.cumsum(prompts.counts) - prompts.counts)
                yield prompts
            first += batch.height
            seen(batch.height)
        prompts, start = rows.rest()
    except TableError:
        _refuse_first(frame, table, rewards, bounds)  # as if the entire table had been checked, column by column
        raise
    yield prompts
    found, begins = np.concatenate([*keys, prompts.keys]), np.concatenate([*starts, [start]])
    again = _again(found, known)
    if len(again):
        _refuse_again([*earlier, table], rewards, int(begins[again].min()))


def _batches(frame: pl.LazyFrame, table: str) -> Iterator[pl.DataFrame]:
    with polars_errors(table, "parquet"):
        yield from frame.collect_batches(chunk_size=BATCH, maintain_order=True)


def _refuse_first(frame: pl.LazyFrame, table: str, rewards: Sequence[str], bounds: Bounds) -> None:
    """Raise TableError with all rows of the first problem, as `read_score_table` reports it, if there is one."""
    found: dict[tuple[int, int], Problem] = {}
    first = 0
    for batch in _batches(frame, table):
        for i, (_, (_, problems)) in enumerate(checked_scores(_columns(batch, rewards), rewards, bounds)):
            for problem in problems:
                rank = (i, RULES.index(problem.rule))
                found[rank] = problem.after(found.get(rank), first)
        first += batch.height
    if found:
        raise found[min(found)].error(table)


def _columns(batch: pl.DataFrame, rewards: Sequence[str]) -> dict[str, Column]:
    return {name: Column(name, batch[name]) for name in (*KEY, *rewards)}


def _again(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the keys (P,) occurred before, among themselves or among the known ones (ascending)."""
    order = np.argsort(keys, kind="stable")
    twice = order[1:][keys[order][1:] == keys[order][:-1]]
    if not len(known):
        return twice
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.union1d(twice, np.flatnonzero(known[place] == keys))


def _refuse_again(tables: Sequence[str], rewards: Sequence[str], again: int) -> None:
    """Raise ArtifactError: row `again` of the last table begins a prompt that occurred before; with both places."""
    ids = [
        pl.scan_parquet(next(iter(_files(table, rewards).values()))).select(pl.col("prompt_id").cast(pl.String))
        for table in tables
    ]
    name = ids[-1].slice(again - 1, 1).collect().item()
    same = (c.with_row_index("row", offset=1).filter(pl.col("prompt_id") == name).first().collect() for c in ids)
    where, row = next((table, rows["row"].item()) for table, rows in zip(tables, same, strict=True) if rows.height)
    raise ArtifactError(
        f"the rows of prompt {name!r} are not adjacent: they begin in {where}, row {row}, and again in "
        f"{tables[-1]}, row {again}; put each prompt's rows together, in one file (for instance "
        "polars: scan_parquet(files).sort('prompt_id', 'sample_id').sink_parquet(file))"
    )


def _files(table: str, rewards: Sequence[str]) -> dict[str, str]:
    return {reward: table.replace("{reward}", reward) for reward in rewards}


def _table(table: str, rewards: Sequence[str]) -> tuple[pl.LazyFrame, int]:
    """The key and the rewards of a table as a lazy frame, and its number of rows."""
    if "{reward}" not in table:
        return _scan(table, {reward: reward for reward in rewards})
    frames, heights = [], {}
    for i, (reward, file) in enumerate(_files(table, rewards).items()):
        frame, heights[file] = _scan(file, {"score": reward})
        frames.append(frame.rename({c: f"{c}:{i}" for c in KEY}) if i else frame)
    if len(set(heights.values())) > 1:
        shown = ", ".join(f"{file} has {height} rows" for file, height in heights.items())
        raise ArtifactError(f"the files of one table must contain the same keys: {shown}")
    return pl.concat(frames, how="horizontal"), next(iter(heights.values()))


def _scan(file: str, columns: dict[str, str]) -> tuple[pl.LazyFrame, int]:
    if not file.endswith(".parquet"):
        raise TableError(f"{file}: tables are streamed from Parquet; write it as .parquet")
    given = read_user_table(file)
    given.require([*KEY, *columns], NEEDED)
    if "cluster" in given.columns and "cluster" not in columns:
        raise TableError(
            f"{file} has a column 'cluster', but this command does not resample clusters of prompts. Sum the table in "
            "Python (sum_shard(..., clusters=...)), or drop the column if the prompts are independent"
        )
    chosen = pl.scan_parquet(file).select(cs.by_name(*KEY, *columns, require_all=True))
    return chosen.rename(columns), given.height


class _Rows:
    """Cuts batches of rows into complete prompts. The last prompt of a batch waits for the next batch."""

    def __init__(self, table: str, rewards: Sequence[str], bounds: Bounds) -> None:
        self.table, self.rewards, self.bounds = table, rewards, bounds
        self.pending: list[np.ndarray] | None = None
        self.id, self.start = "", 1

    def take(self, batch: pl.DataFrame, first: int) -> Iterator[tuple[Prompts, int]]:
        """Prompts that end in this batch, with their first rows. The batch's first row is row `first` of the table."""
        batch = self._checked(batch, first)
        runs = batch["prompt_id"].rle()
        ids, counts = runs.struct.field("value").to_list(), runs.struct.field("len").to_numpy().astype(np.int64)
        arrays = [batch["sample_id"].to_numpy(), *(batch[reward].to_numpy() for reward in self.rewards)]
        start = first
        if self.pending is not None:
            waiting, start = len(self.pending[0]), self.start
            arrays = [np.concatenate(pair) for pair in zip(self.pending, arrays, strict=True)]
            if ids[0] == self.id:
                counts[0] += waiting
            else:
                ids, counts = [self.id, *ids], np.concatenate([[waiting], counts])
        end = int(counts[:-1].sum())
        self.id, self.pending, self.start = ids[-1], [array[end:].copy() for array in arrays], start + end
        if end:
            yield self._prompts(ids[:-1], counts[:-1], [array[:end] for array in arrays], start), start

    def rest(self) -> tuple[Prompts, int]:
        """The last prompt, once there are no more rows."""
        assert self.pending is not None
        return self._prompts([self.id], np.array([len(self.pending[0])]), self.pending, self.start), self.start

    def _prompts(self, ids: list[str], counts: np.ndarray, arrays: list[np.ndarray], start: int) -> Prompts:
        samples, *columns = arrays
        samples = samples.astype(np.int64)  # in one number with a prompt's place
        rises = samples[1:] > samples[:-1]
        rises[np.cumsum(counts)[:-1] - 1] = True
        if not rises.all():
            place = np.repeat(np.arange(len(counts)), counts) << 32 | samples
            ordered = np.sort(place)
            twice = ordered[1:][ordered[1:] == ordered[:-1]]
            if len(twice):
                rows = np.flatnonzero(place == twice[0])[:2] + start
                raise TableError(f"{self.table}: {repeated(ids[twice[0] >> 32], twice[0] & 0xFFFFFFFF, rows.tolist())}")
        return Prompts(np.array([prompt_key(i) for i in ids], dtype=np.int64), counts, columns)

    def _checked(self, batch: pl.DataFrame, first: int) -> pl.DataFrame:
        """The key and the rewards in the types that are used."""
        checked = dict(checked_scores(_columns(batch, self.rewards), self.rewards, self.bounds))
        if problems := [problem for _, found in checked.values() for problem in found]:
            raise problems[0].error(self.table)
        out = pl.DataFrame({name: values for name, (values, _) in checked.items()})
        for i, reward in enumerate(self.rewards):
            for column in (c for c in KEY if f"{c}:{i}" in batch.columns):
                differs = out[column].ne_missing(batch[f"{column}:{i}"].cast(out.schema[column], strict=False))
                if differs.any():
                    row = first + int(differs.arg_true()[0])
                    what = f"{column} of '{reward}' differs from that of '{self.rewards[0]}'"
                    raise TableError(f"{self.table}: {what}, in row {row}")
        return out


FORMAT = 4


def write_sums(sums: FrontierSums, path: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write sums as an .npz file, atomically."""
    header = {
        "format": FORMAT,
        "names": sums.names,
        "seed": sums.seed,
        "samples": sums.samples,
        "left_out": sums.left_out,
        "clustered": sums.clustered,
        "bounds": sums.bounds,
        "fewest": sums.fewest,
        **provenance,
    }
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.array(json.dumps(header, sort_keys=True)),
            inverse=sums.inverse,
            prompts=sums.prompts,
            sums=sums.sums,
            ends=sums.ends,
            keys=sums.keys,
            marks=sums.specimens.marks,
            scores=sums.specimens.scores,
        )


def read_sums(path: str | Path) -> FrontierSums:
    """Read sums; see `read_part`."""
    return read_part(path)[0]


def read_part(path: str | Path) -> tuple[FrontierSums, dict[str, Any]]:
    """Read sums and the metadata that was written with them.

    Raises:
        ArtifactError: no such file, not one of ours, damaged, or of another version.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise ArtifactError(f"{path} has format {header['format']}, but this version reads {FORMAT}; sum again")
            specimens = Specimens()
            specimens.add(file["marks"], file["scores"])
            sums = FrontierSums(
                tuple(header["names"]),
                file["inverse"],
                header["seed"],
                file["prompts"],
                header["samples"],
                header["left_out"],
                header["clustered"],
                file["sums"],
                specimens,
                [file["keys"]],
                header["bounds"] and tuple(header["bounds"]),
                header["fewest"],
                file["ends"],
            )
        if sums.prompts.sum() + sums.left_out != len(sums.keys):
            raise ValueError("prompts and keys differ")
        return sums, header
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist") from error
    except ArtifactError:
        raise
    except Exception as error:  # zipfile, zlib, json and NumPy each have their own exceptions
        raise ArtifactError(f"{path} does not contain partial sums of this project ({error}); sum again") from error


def _check_sizes(path: str | Path) -> None:
    """Refuse arrays whose header claims more than the file contains, before NumPy allocates memory for them.

    Raises:
        ValueError: the first of them.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                major, _ = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if dtype.kind not in "biufUS" or math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
                    raise ValueError(f"the content of {entry.filename} does not fit its header")


def continue_sums(
    empty: FrontierSums, path: Path, tables: Sequence[str], digest: Callable[[str], str]
) -> tuple[FrontierSums, dict[str, str]]:
    """The sums of an unfinished part, and the digests of the tables in it; empty sums if there is no part.

    Raises:
        ArtifactError: the part has other rewards, betas or seed, or other tables.
    """
    if not path.exists():
        return empty, {}
    begun, header = read_part(path)
    done: dict[str, str] = header["tables"]
    try:
        empty.include(begun, str(path), "this command")
    except EstimateError as error:
        raise ArtifactError(f"{error}; delete it, or choose another --out") from error
    for table, known in done.items():
        if table not in tables or digest(table) != known:
            what = "has changed since it was summed" if table in tables else "is not in --tables, but was summed"
            raise ArtifactError(f"{table} {what} into {path}; delete {path}, or choose another --out")
    return empty, done


def merge_files(paths: Sequence[str | Path]) -> FrontierSums:
    """Sums of several files, in any order.

    Raises:
        ArtifactError: one cannot be read, they do not belong together, or a prompt is in two of them.
    """
    try:
        return merge(map(read_sums, paths), [str(path) for path in paths])
    except EstimateError as error:
        raise ArtifactError(str(error)) from error

"""Tables between stages: their schemas, atomic writes, provenance, and readers that check.

A table is a Parquet file (zstd) whose key-value metadata says which study, stage, settings, code and
packages made it. Nothing is ever half-written: a file appears under its name only when complete.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError

KEY = ("prompt_id", "sample_id")

# Names, types and order of the public columns; a table may add more behind them.
SCHEMAS: dict[str, dict[str, Any]] = {
    "prompts": {"prompt_id": pl.String, "text": pl.String, "reference": pl.String, "source": pl.String},
    "samples": {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "text": pl.String,
        "token_ids": pl.List(pl.Int32),
        "n_tokens": pl.Int32,
        "logprob": pl.Float64,
        "finish_reason": pl.String,
        "seed": pl.Int64,
    },
    "scores": {"prompt_id": pl.String, "sample_id": pl.Int32, "score": pl.Float64, "truncated": pl.Boolean},
    "samples_summary": {
        "prompt_id": pl.String,
        "n_samples": pl.Int32,
        "truncation_rate": pl.Float64,
        "distinct_share": pl.Float64,
        "mean_tokens": pl.Float64,
        "mean_logprob": pl.Float64,
    },
    # and one float64 column per reward or ensemble
    "standardised": {"prompt_id": pl.String, "sample_id": pl.Int32},
    "scales": {"reward": pl.String, "prompt_id": pl.String, "centre": pl.Float64, "scale": pl.Float64},
    "frontier": {
        "optimized": pl.String,
        "evaluated": pl.String,
        "budget": pl.String,
        "beta": pl.Float64,
        "kl": pl.Float64,
        "kl_low": pl.Float64,
        "kl_high": pl.Float64,
        "kl_reverse": pl.Float64,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "gain_plugin": pl.Float64,
        "ess": pl.Float64,
        "pareto_k": pl.Float64,
        "reliable": pl.Boolean,
    },
    "best_of_n": {
        "method": pl.String,
        "optimized": pl.String,
        "evaluated": pl.String,
        "n": pl.Int32,
        "temperature": pl.Float64,
        "kl": pl.Float64,
        "kl_bound": pl.Float64,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "limit": pl.Float64,
        "efficiency": pl.Float64,
    },
}

_METADATA = "alignment_limits"


def digest(value: Any) -> str:
    """Short stable hash of plain data (settings, a source)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_sha256(path: str | Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the packages that matter to an artifact; absent ones are left out."""
    out = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            out[name] = importlib.metadata.version(name)
    return out


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, moved onto it when the block succeeds, removed when it does not.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArtifactError(
                f"no space left while writing {path}; free some and run again, finished files are kept"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise ArtifactError(f"cannot write {path}: {error.strerror}; check the folder's permissions") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_table(table: pl.DataFrame, path: str | Path, schema: str, provenance: Mapping[str, Any]) -> None:
    """Write a table in its contract's columns and types, complete or not at all.

    Raises:
        ArtifactError: a column is missing or of another type, the key is not unique, or the disk is full.
    """
    table = _conform(table, schema, str(path))
    with atomic(path) as temporary:
        try:
            table.write_parquet(
                temporary, compression="zstd", metadata={_METADATA: json.dumps(provenance, sort_keys=True)}
            )
        except (OSError, pl.exceptions.ComputeError) as error:
            if "os error 28" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise


def write_json(value: Any, path: str | Path) -> None:
    """Write plain data as JSON, complete or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", "utf-8")


def read_table(path: str | Path, schema: str, *, expect: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Read a table and check its contract.

    Args:
        expect: provenance entries the file must carry (for instance the study's name).

    Raises:
        ArtifactError: no such file, not a Parquet file, another contract, another provenance.
    """
    metadata = read_provenance(path)
    for name, value in (expect or {}).items():
        if metadata.get(name) != value:
            raise ArtifactError(
                f"{path} was made with {name}={metadata.get(name)!r}, not {value!r}; delete it and run again"
            )
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); delete it and run again") from error
    return _conform(table, schema, str(path))


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance stored in a table.

    Raises:
        ArtifactError: no such file, not a Parquet file, or not one of ours.
    """
    if not Path(path).is_file():
        raise ArtifactError(f"{path} does not exist; run the rule that makes it")
    try:
        raw = pl.read_parquet_metadata(path).get(_METADATA)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run again") from error
    if raw is None:
        raise ArtifactError(f"{path} carries no provenance of this project; delete it and run again")
    provenance: dict[str, Any] = json.loads(raw)
    return provenance


def read_tables(paths: Sequence[str | Path], schema: str) -> pl.DataFrame:
    """Shards as one table in key order.

    Raises:
        ArtifactError: a shard is bad (the file is named), or two shards hold the same key.
    """
    table = pl.concat([read_table(p, schema) for p in paths])
    _check_key(table, f"the {len(paths)} files {paths[0]} …")
    return table.sort(KEY)


def _conform(table: pl.DataFrame, schema: str, where: str) -> pl.DataFrame:
    contract = SCHEMAS[schema]
    missing = [c for c in contract if c not in table.columns]
    if missing:
        raise ArtifactError(f"{where}: the table '{schema}' lacks the column(s) {', '.join(missing)}")
    try:
        table = table.with_columns([pl.col(c).cast(t, strict=True) for c, t in contract.items()])
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{where}: a column of '{schema}' has the wrong type: {error}") from error
    if all(c in contract for c in KEY):
        _check_key(table, where)
    return table.select([*contract, *(c for c in table.columns if c not in contract)])


def _check_key(table: pl.DataFrame, where: str) -> None:
    twice = table.group_by(KEY).len().filter(pl.col("len") > 1)
    if twice.height:
        row = twice.sort(KEY).row(0)
        raise ArtifactError(f"{where}: {twice.height} key(s) occur twice, the first is {row[0]}, sample {row[1]}")


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
        """The grid of a table with the key's columns."""
        prompts, row = np.unique(table["prompt_id"].to_numpy().astype(str), return_inverse=True)
        samples, column = np.unique(table["sample_id"].to_numpy(), return_inverse=True)
        return cls(prompts.tolist(), row, column, (len(prompts), len(samples)))

    def array(self, values: pl.Series) -> np.ndarray:
        """A column as an array (prompts × samples), NaN where there is no row."""
        out = np.full(self.shape, np.nan)
        out[self.row, self.column] = values.to_numpy()
        return out

    def values(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `array`: one value per row of the table."""
        return np.asarray(array[self.row, self.column])


def read_scores(paths: Sequence[str | Path], reward: str) -> pl.DataFrame:
    """All score shards of a reward, in key order.

    Raises:
        ArtifactError: a score is missing, NaN or infinite.
    """
    scores = read_tables(paths, "scores")
    bad = scores.filter(~pl.col("score").is_finite().fill_null(False))
    if bad.height:
        first = bad.row(0, named=True)
        raise ArtifactError(
            f"reward {reward}: {bad.height} score(s) are not finite numbers, the first at {first['prompt_id']}, "
            f"sample {first['sample_id']}"
        )
    return scores


def same_keys(scores: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The first table, once all are known to hold the same keys in the same order.

    Raises:
        ArtifactError: names the reward and the first key it lacks or has too many.
    """
    (first_name, first), *others = scores.items()
    for name, table in others:
        if not table.select(KEY).equals(first.select(KEY)):
            lacks = first.join(table, on=KEY, how="anti").select(KEY).rows()
            extra = table.join(first, on=KEY, how="anti").select(KEY).rows()
            what = f"lacks {len(lacks)} key(s) such as {lacks[:1]}, has {len(extra)} that {first_name} lacks"
            raise ArtifactError(f"reward {name} {what} {extra[:1]}; delete its scores and run again")
    return first


def reward_arrays(table: pl.DataFrame, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of the table `standardised` as arrays (prompts × samples), NaN-padded.

    Raises:
        ArtifactError: no such column.
    """
    absent = [n for n in names if n not in table.columns]
    if absent:
        raise ArtifactError(f"the standardised rewards lack {', '.join(absent)}; run the rule that makes them")
    grid = Grid.of(table)
    return {name: grid.array(table[name]) for name in names}

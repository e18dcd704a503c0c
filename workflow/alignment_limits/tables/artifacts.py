"""Tables between stages: their schemas, atomic writes, provenance, and readers that check.

A table is a Parquet file (zstd). Its key-value metadata contains the study, stage, settings, code and packages
that produced it, the path it was written for, and a checksum of everything else. A file appears under its name
only when it is complete. The path of a shard names everything that determines its content, so a shard under the
path of another is refused.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from alignment_limits.errors import ArtifactError
from alignment_limits.files import CHECKSUM, TABLES, atomic, blank, is_sealed, seal

KEY = ("prompt_id", "sample_id")


@dataclass(frozen=True)
class Schema:
    """A table's contract: names, types and order of its columns. Further columns may follow them.

    The contracts are in `tables/schemas/`.
    """

    name: str
    columns: Mapping[str, Any]
    # Columns of verdicts, and the columns that must be numbers where the verdict is true.
    verdicts: Mapping[str, Sequence[str]] = field(default_factory=dict)


_METADATA = "alignment_limits"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of packages; those that are not installed are left out."""
    out = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            out[name] = importlib.metadata.version(name)
    return out


@TABLES
def write_table(table: pl.DataFrame, path: str | Path, schema: Schema, provenance: Mapping[str, Any]) -> None:
    """Write a table in its contract's columns and types, atomically.

    Raises:
        ArtifactError: a column is missing or of another type, the key is not unique, a reliable value is not a number,
            or the disk is full.
    """
    table = _conform(table, schema, str(path))
    _check_verdicts(table, schema, str(path))
    provenance = dict(provenance) | {"place": _place(path)} | blank()
    with atomic(path) as temporary:
        try:
            table.write_parquet(
                temporary, compression="zstd", metadata={_METADATA: json.dumps(provenance, sort_keys=True)}
            )
            seal(temporary)
        except (OSError, pl.exceptions.ComputeError) as error:
            if "os error 28" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise


@TABLES
def read_table(path: str | Path, schema: Schema, *, expect: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Read a table and check its contract.

    Args:
        expect: provenance entries that the file must have (for instance the study's name).

    Raises:
        ArtifactError: no such file, not a Parquet file, damaged, written for another path, another contract,
            another provenance.
    """
    metadata = read_provenance(path)
    if not _in_place(metadata, path):
        raise ArtifactError(f"{path} was written as {metadata['place']}, with other settings; delete it and run again")
    for name, value in (expect or {}).items():
        if metadata.get(name) != value:
            raise ArtifactError(
                f"{path} was written with {name}={metadata.get(name)!r}, not {value!r}; delete it and run again"
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
        raise ArtifactError(f"{path} does not exist; run the rule that creates it")
    try:
        raw = pl.read_parquet_metadata(path).get(_METADATA)
        damage = "" if raw is None or is_sealed(path) else "its checksum differs"
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        damage = str(error)
    if damage:
        raise ArtifactError(f"{path} is damaged ({damage}); delete it and run again")
    if raw is None:
        raise ArtifactError(f"{path} has no provenance of this project; delete it and run again")
    provenance: dict[str, Any] = json.loads(raw)
    del provenance[CHECKSUM]
    return provenance


def read_record(path: str | Path) -> dict[str, Any] | None:
    """The record of the job that wrote a table (jobs/records.py); None for files without one for this path."""
    if not str(path).endswith(".parquet"):
        return None
    try:
        provenance = read_provenance(path)
    except ArtifactError:
        return None
    return provenance.get("record") if _in_place(provenance, path) else None


def read_tables(paths: Sequence[str | Path], schema: Schema) -> pl.DataFrame:
    """Shards as one table in key order.

    Raises:
        ArtifactError: a shard is bad (the message names the file), or two shards contain the same key.
    """
    table = pl.concat([read_table(p, schema) for p in paths])
    _check_key(table, f"the {len(paths)} files {paths[0]} …")
    return table.sort(KEY)


def _place(path: str | Path) -> str:
    """The path of a file relative to the folder of all results; "" for absolute paths."""
    return "" if Path(path).is_absolute() else "/".join(Path(path).parts[1:])


def _in_place(provenance: Mapping[str, Any], path: str | Path) -> bool:
    """Whether a table has the path it was written for, also through a link or after a move of all results."""
    place = provenance.get("place", "")
    return any(str(p).endswith(place) for p in (path, os.path.realpath(path)))


def _conform(table: pl.DataFrame, schema: Schema, where: str) -> pl.DataFrame:
    contract = schema.columns
    missing = [c for c in contract if c not in table.columns]
    if missing:
        raise ArtifactError(f"{where}: the table '{schema.name}' lacks the column(s) {', '.join(missing)}")
    try:
        table = table.with_columns([pl.col(c).cast(t, strict=True) for c, t in contract.items()])
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{where}: a column of '{schema.name}' has the wrong type: {error}") from error
    if all(c in contract for c in KEY):
        _check_key(table, where)
    return table.select([*contract, *(c for c in table.columns if c not in contract)])


def _check_verdicts(table: pl.DataFrame, schema: Schema, where: str) -> None:
    """Raise an error if a value is called reliable but is not a number."""
    for verdict, quantities in schema.verdicts.items():
        if verdict not in table.columns:
            continue
        for name in (q for q in quantities if q in table.columns):
            told = pl.col(verdict).fill_null(False) & ~pl.col(name).is_finite().fill_null(False)
            bad = table.with_row_index("row").filter(told)
            if bad.height:
                raise ArtifactError(
                    f"{where}: row {bad['row'][0]} of '{schema.name}' has no number in '{name}' but is true in "
                    f"'{verdict}' ({bad.height} such rows); this is a bug of an estimator: please report it"
                )


def _check_key(table: pl.DataFrame, where: str) -> None:
    prompt, sample = map(pl.col, KEY)
    rises = (prompt > prompt.shift()) | ((prompt == prompt.shift()) & (sample > sample.shift()))
    if table.select(
        rises.slice(1).fill_null(False).all()
    ).item():  # usually in key order; this check is 20 times as fast
        return
    twice = table.group_by(KEY).len().filter(pl.col("len") > 1)
    if twice.height:
        row = twice.sort(KEY).row(0)
        raise ArtifactError(f"{where}: {twice.height} key(s) occur twice, the first is {row[0]}, sample {row[1]}")

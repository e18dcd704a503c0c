"""Tables between stages: their schemas, atomic writes, provenance, and readers that check.

A table is a Parquet file (zstd) whose key-value metadata says which study, stage, settings, code and
packages made it and for which place, and holds a checksum of all the rest. Nothing is ever half-written:
a file appears under its name only when complete. A shard's place names all that decides its content, so
one that was put in another's place is refused.
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
    """A table's contract: names, types and order of its columns; a table may add more behind them.

    The contracts themselves lie in `tables/schemas/`.
    """

    name: str
    columns: Mapping[str, Any]
    # Columns that say whether others are reliable: those, where a table has them, must then be numbers.
    verdicts: Mapping[str, Sequence[str]] = field(default_factory=dict)


_METADATA = "alignment_limits"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the packages that matter to an artifact; absent ones are left out."""
    out = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            out[name] = importlib.metadata.version(name)
    return out


@TABLES
def write_table(table: pl.DataFrame, path: str | Path, schema: Schema, provenance: Mapping[str, Any]) -> None:
    """Write a table in its contract's columns and types, complete or not at all.

    Raises:
        ArtifactError: a column is missing or of another type, the key is not unique, what is called reliable is no
            number, or the disk is full.
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
        expect: provenance entries the file must carry (for instance the study's name).

    Raises:
        ArtifactError: no such file, not a Parquet file, damaged, made for another place, another contract,
            another provenance.
    """
    metadata = read_provenance(path)
    if not _in_place(metadata, path):
        raise ArtifactError(f"{path} was made as {metadata['place']}: with other settings; delete it and run again")
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
        damage = "" if raw is None or is_sealed(path) else "not as it was written"
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        damage = str(error)
    if damage:
        raise ArtifactError(f"{path} is damaged ({damage}); delete it and run again")
    if raw is None:
        raise ArtifactError(f"{path} carries no provenance of this project; delete it and run again")
    provenance: dict[str, Any] = json.loads(raw)
    del provenance[CHECKSUM]
    return provenance


def read_record(path: str | Path) -> dict[str, Any] | None:
    """The record of the job that made a table (jobs/records.py); None for files that carry none of this place."""
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
        ArtifactError: a shard is bad (the file is named), or two shards hold the same key.
    """
    table = pl.concat([read_table(p, schema) for p in paths])
    _check_key(table, f"the {len(paths)} files {paths[0]} …")
    return table.sort(KEY)


def _place(path: str | Path) -> str:
    """Where a file lies below the folder of all results, wherever that may be; "" for paths of another kind."""
    return "" if Path(path).is_absolute() else "/".join(Path(path).parts[1:])


def _in_place(provenance: Mapping[str, Any], path: str | Path) -> bool:
    """Whether a table lies where it was made for, be it by a link or after a move of all results."""
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
    """No row may call reliable what it has no number for."""
    for verdict, quantities in schema.verdicts.items():
        if verdict not in table.columns:
            continue
        for name in (q for q in quantities if q in table.columns):
            told = pl.col(verdict).fill_null(False) & ~pl.col(name).is_finite().fill_null(False)
            bad = table.with_row_index("row").filter(told)
            if bad.height:
                raise ArtifactError(
                    f"{where}: row {bad['row'][0]} of '{schema.name}' has no number in '{name}' but is true in "
                    f"'{verdict}' ({bad.height} such rows): an estimator's fault, please report it"
                )


def _check_key(table: pl.DataFrame, where: str) -> None:
    prompt, sample = map(pl.col, KEY)
    rises = (prompt > prompt.shift()) | ((prompt == prompt.shift()) & (sample > sample.shift()))
    if table.select(
        rises.slice(1).fill_null(False).all()
    ).item():  # in key order, as nearly always: a twentieth of the time
        return
    twice = table.group_by(KEY).len().filter(pl.col("len") > 1)
    if twice.height:
        row = twice.sort(KEY).row(0)
        raise ArtifactError(f"{where}: {twice.height} key(s) occur twice, the first is {row[0]}, sample {row[1]}")

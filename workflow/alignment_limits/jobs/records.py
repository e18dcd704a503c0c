"""A record of the job that wrote each result, kept with the result.

Snakemake's own records (`.snakemake/metadata`) can be lost or damaged, and results can be copied without them. Then
Snakemake would accept any file at the right path as up to date. So every job leaves a record of its own: its params
(settings and code, as Snakemake compares them), its inputs and their checksums. The record of a table is in its
metadata. The record of any other file or folder `x` is the hidden file `.x.made` next to it, with checksums of `x`.

`install` lets Snakemake read these records where it has none. A result is computed again if it has no record, if it
differs from its record, or if its inputs have changed since.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alignment_limits.files import digest, file_sha256, write_json

LARGEST = 100 * 2**20  # bytes; larger files are not hashed at each of Snakemake's checks, as in its profile
Checksums = dict[str, str]


def sidecar(path: str | Path) -> Path:
    """The path of the record of a file or folder that is not a table."""
    path = Path(path)
    return path.with_name(f".{path.name}.made")


def made_by(snakemake: Any) -> dict[str, Any]:
    """The record of a job: its rule, params, inputs, and their checksums."""
    inputs = sorted({str(file) for file in snakemake.input})
    return {
        "rule": snakemake.rule,
        "params": sorted(repr(value) for value in snakemake.params),
        "input": inputs,
        "input_checksums": {file: checksum for file in inputs if (checksum := input_checksum(file))},
    }


def write_records(snakemake: Any, record: Mapping[str, Any]) -> None:
    """Write the record of a finished job next to each output that is not a table."""
    from alignment_limits.tables.artifacts import read_record

    for output in map(Path, snakemake.output):
        if output.exists() and read_record(output) is None:
            write_json(dict(record) | {"files": checksums_of(output)}, sidecar(output))


def checksums_of(path: Path) -> Checksums:
    """SHA-256 of a file, under ".", or of all files of a folder. For a link in a folder: its target."""
    if path.is_file():
        return {".": file_sha256(path)}
    return {
        str(file.relative_to(path)): f"-> {os.readlink(file)}" if file.is_symlink() else file_sha256(file)
        for file in _files(path)
    }


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        for name in sorted(files + [f for f in folders if os.path.islink(os.path.join(where, f))]):
            if name != ".snakemake_timestamp":
                yield Path(where, name)


def input_checksum(path: str, largest: float = float("inf")) -> str | None:
    """The checksum of an input: of a file's content, or of the record of a folder that a job wrote.

    None if it is larger than `largest`, a folder without a record, or missing.
    """
    try:
        state = os.stat(path)
    except OSError:
        return None
    if os.path.isdir(path):
        record = _read_sidecar(Path(path))
        return None if record is None else f"folder:{digest(record['files'])}"
    return _hashed(path, state.st_mtime_ns, state.st_size) if state.st_size <= largest else None


@functools.cache
def _hashed(path: str, time: int, size: int) -> str:
    return f"sha256:{file_sha256(path)}"


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(sidecar(path).read_text("utf-8"))
        return record if {"rule", "params", "input", "input_checksums", "files"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def record_of(path: Path) -> dict[str, Any] | None:
    """The record of a result; None if there is none, or it cannot be read."""
    from alignment_limits.tables.artifacts import read_record  # imports polars, which an up-to-date study does not need

    table = read_record(path) if path.is_file() else None
    return table if table is not None else _read_sidecar(path)


def doubt(path: Path, record: Mapping[str, Any] | None, *, thorough: bool = False) -> str:
    """Why a result does not match its record; "" if it does.

    Args:
        thorough: hash everything; else only files up to `LARGEST`, and compare only the names of files in folders.
    """
    if record is None:
        return "no record of how it was made"
    largest = float("inf") if thorough else LARGEST
    if (files := record.get("files")) is not None and (what := _difference(path, files, thorough)):
        return f"changed since it was written: {what}"
    for file, checksum in record["input_checksums"].items():
        now = input_checksum(file, largest)
        if now != checksum and not (now is None and os.path.exists(file)):
            return f"computed from another version of {file}" if now else f"{file} is missing"
    return ""


def _difference(path: Path, files: Checksums, thorough: bool) -> str:
    """The first file of a result that differs from its record."""
    if not files:
        return ""  # a table, whose reader has checked it
    if path.is_file():
        small = thorough or path.stat().st_size <= LARGEST
        return str(path) if small and files != checksums_of(path) else ""
    if thorough:
        now: Mapping[str, str | None] = checksums_of(path)
    else:
        now = {str(file.relative_to(path)): None for file in _files(path)}
    different = [n for n in sorted({*files, *now}) if n not in now or n not in files or now[n] not in (None, files[n])]
    return str(path / different[0]) if different else ""


UNRECORDED = "unrecorded"  # key in the params of a result without a valid record; its value is the reason


def install() -> None:
    """Let Snakemake (9.27) use the records of results where its own are missing, damaged or of another file.

    Snakemake treats them like its own: if settings, code or inputs differ, the job runs again.
    """
    from snakemake.persistence import PersistenceBase

    theirs = PersistenceBase.metadata
    if hasattr(theirs, "theirs"):
        return

    settled: dict[str, tuple[Any, Any]] = {}  # Snakemake asks several times for each file

    @functools.wraps(theirs)
    def metadata(self: Any, target: Any) -> Any:
        try:
            record = theirs(self, target)
        except Exception:  # damaged in any way
            record = None
        key = str(target)
        if key not in settled or settled[key][0] is not record:
            settled[key] = record, _settled(Path(key), record)
        return settled[key][1]

    vars(metadata)["theirs"] = theirs
    PersistenceBase.metadata = metadata


def _settled(path: Path, theirs: Any) -> Any:
    """Snakemake's record of a result; the result's own if Snakemake has none or the file was replaced."""
    time = modified(path)
    if time is None or (theirs is not None and abs(time - (theirs.endtime or 0.0)) < 0.01):
        return theirs
    ours, is_whole = _own(path, time)
    # a file that no record describes is noticed by its readers
    return theirs if theirs is not None and not is_whole else ours


@functools.cache
def _own(path: Path, time: float) -> tuple[Any, bool]:
    """A result's own record in Snakemake's format, and whether it describes this file."""
    record = record_of(path)
    is_whole = record is not None and not _difference(path, record.get("files", {}), thorough=False)
    return snakemakes(record, time, doubt(path, record)), is_whole


def snakemakes(record: Mapping[str, Any] | None, time: float, doubtful: str = "") -> Any:
    """A result's own record in Snakemake's format."""
    from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord

    known: Mapping[str, Any] = record or {}
    checksums = {f: c for f, c in known.get("input_checksums", {}).items() if c.startswith("sha256:")}
    return MetadataRecord(
        rule=known.get("rule"),
        input=None if doubtful else known["input"],
        params=[repr({UNRECORDED: doubtful})] if doubtful else known["params"],
        input_checksums=checksums,
        record_format_version=RECORD_FORMAT_VERSION,
        job_hash=int(digest([known.get("rule"), known.get("params"), known.get("input")]), 16),
        starttime=time,
        endtime=time,
        incomplete=False,
    )


def modified(path: Path) -> float | None:
    """When a file or folder was last written, as Snakemake sees it; None if it does not exist."""
    try:
        state = os.stat(path)
        if stat.S_ISDIR(state.st_mode):
            with contextlib.suppress(FileNotFoundError):
                return os.stat(path / ".snakemake_timestamp").st_mtime
        return state.st_mtime
    except OSError:
        return None

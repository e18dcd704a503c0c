"""Files and folders of other projects as rows: JSON, JSONL, CSV, Parquet, YAML, Arrow, and archives of JSON."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from alignment_limits.errors import TableError
from alignment_limits.importers.rows import Row, clean
from alignment_limits.tables.user_table import (
    FORMATS,
    decoded,
    polars_errors,
    read_bytes,
    read_user_table,
    suffix_of,
)

SUFFIXES = (*FORMATS, ".yaml", ".yml", ".arrow", ".eval")
_ZSTD = 93  # compression method in zip files; Python 3.11 does not read it
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Source:
    """A file whose content is read when it is used.

    Attributes:
        path, name: the file; the name is for messages. suffix: its format.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.suffix = path, clean(str(path)), suffix_of(path)

    @cached_property
    def document(self) -> Any:
        """The content of a JSON or YAML file as it is; None for other files."""
        if self.suffix == ".json":
            text = decoded(read_bytes(self.path, self.name), self.name)
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                if "Extra data" in str(error):  # JSON lines under another name
                    return None
                raise TableError(f"{self.name} cannot be read as json: {error}; the file may be cut") from error
        if self.suffix in (".yaml", ".yml"):
            try:
                return yaml.load(decoded(read_bytes(self.path, self.name), self.name), Loader=_LOADER)
            except (yaml.YAMLError, RecursionError) as error:
                raise TableError(f"{self.name} cannot be read as yaml: {error}") from error
        return None

    @cached_property
    def rows(self) -> list[Row]:
        """The records of the file."""
        document = self.document
        if document is not None:
            return [Row(self.name, i, record) for i, record in enumerate(self._records(document), start=1)]
        if self.suffix == ".arrow":
            with polars_errors(self.name, "arrow"):
                records = pl.read_ipc_stream(self.path.read_bytes()).to_dicts()
            return [Row(self.name, i, record) for i, record in enumerate(records, start=1)]
        table = read_user_table(self.path, self.name)
        columns = [table.values(name) for name in table.columns]
        return [
            Row(self.name, i, dict(zip(table.columns, values, strict=True)))
            for i, values in enumerate(zip(*columns, strict=True), start=1)
        ]

    @property
    def first(self) -> Row:
        """The first record; it shows the format.

        Raises:
            TableError: the file has none.
        """
        if not self.rows:
            raise TableError(f"{self.name} has no rows")
        return self.rows[0]

    def _records(self, document: Any) -> list[Mapping[str, Any]]:
        """A list of objects; one object; or an object with a list for each column, and constants."""
        if isinstance(document, Mapping):
            lists = {key: value for key, value in document.items() if isinstance(value, list)}
            lengths = {len(value) for value in lists.values()}
            columns = {"scores", "subset", "instruction", "prompt", "text"} & lists.keys()
            if self.suffix == ".json" and len(lengths) == 1 and len(lists) > 1 and columns:
                constants = {key: value for key, value in document.items() if key not in lists}
                return [
                    constants | dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)
                ]
            return [document]
        if not isinstance(document, list):
            raise TableError(f"{self.name} is not a list of records")
        for i, record in enumerate(document, start=1):
            if not isinstance(record, Mapping):
                raise TableError(f"{self.name}: row {i} is not an object with a value for each column")
        return document


def open_sources(paths: Sequence[Path]) -> list[Source]:
    """Files, and the files of folders, in order.

    Raises:
        TableError: a path does not exist, a folder has no file that can be read, a file occurs twice.
    """
    files = [file for path in paths for file in _files_of(path)]
    twice = [file for file in files if files.count(file) > 1]
    if twice:
        raise TableError(f"{twice[0]} is given twice; give each file once")
    return [Source(file) for file in files]


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        if suffix_of(path) not in SUFFIXES:
            raise TableError(f"{path}: a file is one of {', '.join(SUFFIXES)}, not '{suffix_of(path)}'")
        return [path]
    if not path.is_dir():
        raise TableError(f"{path} does not exist")
    if (splits := path / "dataset_dict.json").is_file():  # Hugging Face datasets, several splits
        names = json.loads(splits.read_text("utf-8")).get("splits", [])
        raise TableError(f"{path} has the splits {', '.join(names)}; give one of them, for instance {path / names[0]}")
    if (state := path / "state.json").is_file():  # Hugging Face datasets, one split
        try:
            names = [part["filename"] for part in json.loads(state.read_text("utf-8"))["_data_files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(f"{state} is not the state of a saved data set: {error!r}") from error
        if lost := [name for name in names if not (path / name).is_file()]:
            raise TableError(f"{path} lacks {lost[0]}, which its state.json names")
        return [path / name for name in names]
    files = sorted(file for file in path.rglob("*") if file.is_file() and suffix_of(file) in SUFFIXES)
    samples = [file for file in files if file.name.startswith("samples_") and suffix_of(file) == ".jsonl"]
    beside = ("metadata", "results_", "dataset_info", "config", "header")  # about the samples, not samples
    files = samples or [f for f in files if not f.name.startswith(beside) and not f.stem.endswith("_metadata")]
    if not files:
        raise TableError(f"{path} has no file that can be imported ({', '.join(SUFFIXES)})")
    return sorted(files, key=_by_number)


def _by_number(file: Path) -> tuple[str, int, str]:
    """Files named by numbers in the order of these."""
    return (str(file.parent), int(file.stem) if file.stem.isdecimal() else -1, file.name)


class Archive:
    """A zip file with JSON files in it, some of which are compressed by zstd.

    Raises:
        TableError: not a zip file, or one that was cut.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, clean(str(path))
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {info.filename: info for info in archive.infolist()}  # the last of a name counts
        except (zipfile.BadZipFile, OSError) as error:
            raise TableError(
                f"{self.name} is not a complete zip file ({error}); the log may still be written"
            ) from error

    def json(self, member: str) -> Any:
        """A member's content.

        Raises:
            TableError: damaged, or not JSON.
        """
        info = self.members[member]
        try:
            content = self._zstd(info) if info.compress_type == _ZSTD else self._plain(info)
            return json.loads(content)
        except (ValueError, RecursionError, OSError, EOFError, zlib.error, zipfile.BadZipFile, struct.error) as error:
            raise TableError(f"{self.name}: {member} is damaged: {error}") from error
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise TableError(f"{self.name}: {member} is damaged: {str(error).splitlines()[0]}") from error

    def _plain(self, info: zipfile.ZipInfo) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(info)

    def _zstd(self, info: zipfile.ZipInfo) -> bytes:
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(30)
            name, extra = struct.unpack("<HH", header[26:30])
            file.seek(name + extra, 1)
            packed = file.read(info.compress_size)
        if len(packed) < info.compress_size:
            raise EOFError("cut")
        # polars reads zstd; line ends are not part of JSON's values
        return "\n".join(pl.read_lines(io.BytesIO(packed)).to_series(0).to_list()).encode()

    def under(self, folder: str) -> Iterator[str]:
        """Members below a folder whose names are numbers, in order."""
        inside = [name for name in self.members if name.startswith(folder)]
        numbered = [(int(stem), name) for name in inside if (stem := name[len(folder) : -5]).isdecimal()]
        yield from (name for _, name in sorted(numbered))

"""A user's tables and text files: Parquet, CSV, TSV, JSON, JSONL, text.

All but Parquet are UTF-8 and may be compressed (.gz, .zst). Only a line feed ends a line.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from alignment_limits.errors import TableError
from alignment_limits.tables.columns import Column, Problem, numbers, raise_first, texts, whole_numbers

COMPRESSED = (".gz", ".zst")


def suffix_of(file: Path) -> str:
    """A file's format from its name, without the suffix of a compression: `.csv` for `scores.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def other_separator(columns: Sequence[str]) -> str:
    """What to do about a table whose columns are not separated by commas, "" if it has no such look.

    Example:
        >>> other_separator(["prompt;reply"])
        ". Its columns are separated by ';': write commas"
    """
    used = [sign for sign in (";", "\t", "|") if len(columns) == 1 and sign in columns[0]]
    return f". Its columns are separated by {used[0]!r}: write commas" if used else ""


def stem_of(file: Path) -> str:
    """A file's name without the suffixes of its format and its compression."""
    return Path(file.stem).stem if file.suffix.lower() in COMPRESSED else file.stem


def read_bytes(file: Path, name: str) -> bytes:
    """The content of a text file: decompressed, without a byte order mark.

    Raises:
        TableError: missing, damaged, empty, UTF-16, or with NUL characters. `name` is the file's name in the message.
    """
    try:
        content = _decompressed(file)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        raise TableError(f"{name} cannot be read: {error}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(content) > 1 and content[:2].count(0) == 1):
        raise TableError(f"{name} is UTF-16, not UTF-8; convert it, for instance `iconv -f UTF-16 -t UTF-8`")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise TableError(f"{name} is empty")
    if (at := content.find(0)) >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise TableError(f"{name} contains a NUL character (byte 0), in line {line}; remove it, or write UTF-8")
    if b"\n" not in content and b"\r" in content.rstrip():
        raise TableError(f"{name}: its lines end in \\r alone; write them with \\n")
    return content


def decoded(content: bytes, name: str) -> str:
    """Bytes as text.

    Raises:
        TableError: not UTF-8; with the byte and the line.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{name} is not UTF-8 (byte {error.start}), in line {line}; convert it, for instance "
            "`iconv -f LATIN1 -t UTF-8`"
        ) from error


def read_lines(file: Path, name: str | None = None) -> list[str]:
    """The lines of a text file. They end at \\n, or \\r\\n. Any other character, such as U+2028, is text.

    Raises:
        TableError: as `read_bytes` and `decoded`.
    """
    name = name or str(file)
    lines = decoded(read_bytes(file, name), name).split("\n")
    return [line.removesuffix("\r") for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _decompressed(file: Path) -> bytes:
    if file.suffix.lower() == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix.lower() == ".zst":  # polars reads zstd, which Python 3.11 does not
        return "\n".join(pl.read_lines(file).to_series(0).to_list()).encode()
    return file.read_bytes()


FORMATS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")


class UserTable:
    """A table whose columns are read when they are used; other columns are not checked.

    name: of the file, in messages. columns: their names, in the file's order.
    """

    def __init__(self, name: str, columns: Sequence[str], height: int) -> None:
        self.name, self.columns, self.height = name, list(columns), height

    def require(self, names: Sequence[str], needed: str = "") -> None:
        """Refuse a table without these columns, with one of them twice, or without rows.

        Args:
            needed: the columns a table should have, for the message.
        """
        if missing := [name for name in names if name not in self.columns]:
            had = f"{self.name} has no column {', '.join(missing)}; it has: {', '.join(self.columns)}"
            raise TableError(had + other_separator(self.columns) + (f". {needed}" if needed else ""))
        if twice := [name for name in names if self.columns.count(name) > 1]:
            raise TableError(f"{self.name}: the column {twice[0]} occurs twice; rename or remove one")
        if not self.height:
            raise TableError(f"{self.name} has no rows")

    def read(self, names: Sequence[str]) -> dict[str, Column]:
        """Columns by name; see `require`."""
        raise NotImplementedError

    def values(self, name: str) -> list[Any]:
        """A column as Python values of any type."""
        return self.read([name])[name].values.to_list()

    def texts(self, name: str) -> pl.Series:
        """A column of texts (or whole numbers, read as text), none of them missing.

        Raises:
            TableError: it is not; with the rows.
        """
        return self._checked(texts(self.read([name])[name]))

    def optional_texts(self, name: str) -> pl.Series:
        """A column of texts that may be missing."""
        return self._checked(texts(self.read([name])[name], empty=True))

    def anything(self, name: str) -> pl.Series:
        """A column of any kind as text, nested values as JSON. Missing values stay missing."""
        column = self.read([name])[name]
        if column.kinds is None and not column.values.dtype.is_nested() and column.values.dtype != pl.Binary:
            return column.values.cast(pl.String)
        return pl.Series(name, [_as_text(value) for value in self.values(name)], dtype=pl.String)

    def numbers(self, name: str) -> pl.Series:
        """A column of finite numbers."""
        return self._checked(numbers(self.read([name])[name])).cast(pl.Float64)

    def whole_numbers(self, name: str) -> pl.Series:
        """A column of whole numbers from 0 on, as Int32."""
        return self._checked(whole_numbers(self.read([name])[name]))

    def _checked(self, found: tuple[pl.Series, list[Problem]]) -> pl.Series:
        raise_first(found[1], self.name)
        return found[0]


def read_user_table(file: str | Path, name: str | None = None) -> UserTable:
    """Open a table; its name gives the format.

    Args:
        name: for messages, if not the file's path.

    Raises:
        TableError: no such file, not a table, another format, not UTF-8.
    """
    file = Path(file)
    name = name or str(file)
    suffix = suffix_of(file)
    if suffix not in FORMATS:
        raise TableError(f"{name}: a table is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not '{suffix}'")
    if not file.is_file():
        raise TableError(f"{name} does not exist, or is not a file")
    if suffix == ".parquet":
        return _Parquet(file, name)
    content = read_bytes(file, name)
    if suffix in (".csv", ".tsv"):
        return _Csv(content, name, "\t" if suffix == ".tsv" else ",")
    return _Json(_json_columns(decoded(content, name), name, lines=suffix != ".json"), name)


class _Parquet(UserTable):
    def __init__(self, file: Path, name: str) -> None:
        self.frame = pl.scan_parquet(file)
        with polars_errors(name, "parquet"):
            super().__init__(name, list(self.frame.collect_schema()), self.frame.select(pl.len()).collect().item())

    def read(self, names: Sequence[str]) -> dict[str, Column]:
        self.require(names)
        with polars_errors(self.name, "parquet"):
            frame = self.frame.select(cs.by_name(*names)).collect()  # the name is not a pattern
        return {name: Column(name, frame[name]) for name in names}


class _Csv(UserTable):
    """Every value is text: no type is guessed. All columns are parsed, else polars would miss rows too long."""

    def __init__(self, content: bytes, name: str, separator: str) -> None:
        content = content.rstrip(b"\r\n") + b"\n"
        read = functools.partial(pl.read_csv, content, infer_schema=False, separator=separator)
        try:
            with polars_errors(name, "csv"):
                head = read(has_header=False, n_rows=1)
                self.frame = read()
        except TableError:
            _refuse_long_rows(decoded(content, name), name, separator)  # reports where it is not UTF-8
            raise
        super().__init__(name, [value or "" for value in head.row(0)], self.frame.height)

    def read(self, names: Sequence[str]) -> dict[str, Column]:
        self.require(names)
        return {name: Column(name, self.frame.to_series(self.columns.index(name)).alias(name)) for name in names}


def _refuse_long_rows(text: str, name: str, separator: str) -> None:
    with contextlib.suppress(csv.Error):
        header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        for i, row in enumerate(rows, start=1):
            if len(row) > len(header):
                had = f"row {i} has {len(row)} values, the header {len(header)}"
                raise TableError(f"{name}: {had}; put quotes around values with {separator!r} in them")


class _Json(UserTable):
    def __init__(self, columns: dict[str, list[Any]], name: str) -> None:
        super().__init__(name, list(columns), max(map(len, columns.values()), default=0))
        self.given = columns

    def read(self, names: Sequence[str]) -> dict[str, Column]:
        self.require(names)
        return {name: Column.of_json(name, self.given[name]) for name in names}

    def values(self, name: str) -> list[Any]:
        self.require([name])
        return self.given[name]


def _as_text(value: Any) -> str | None:
    """A value as polars writes it: 'true', 0.1, JSON."""
    if value is None or isinstance(value, str):
        return value and value.encode(errors="replace").decode()
    if isinstance(value, float):
        return str(pl.Series([value]).cast(pl.String)[0])
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace").decode()


@contextlib.contextmanager
def polars_errors(name: str, format: str) -> Iterator[None]:
    """Errors of polars as one message that names the file."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        first = str(error).strip().split("\n")[0]
        raise TableError(f"{name} cannot be read as {format}: {first}") from error


def _json_columns(text: str, name: str, lines: bool) -> dict[str, list[Any]]:
    """JSON lines, a list of records, or an object of columns, as columns."""
    if lines:
        return _of_records(_json_lines(text, name), name)
    try:
        whole = _loads(text)
    except ValueError as error:
        if "Extra data" in str(error):  # JSON lines under another name
            return _of_records(_json_lines(text, name), name)
        raise TableError(f"{name} cannot be read as json: {error}") from error
    if isinstance(whole, list):
        return _of_records(whole, name)
    columns = whole if isinstance(whole, dict) else {}
    if {"columns", "data"} <= columns.keys() <= {"columns", "data", "index"}:
        raise TableError(f"{name} was written with orient='split'; write a list of records (orient='records')")
    if columns and all(isinstance(values, dict) for values in columns.values()):  # as pandas writes them
        columns = {column: list(values.values()) for column, values in columns.items()}
    if not columns or not all(isinstance(values, list) for values in columns.values()):
        raise TableError(f"{name}: a JSON table is a list of records, or an object with a list for each column")
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{column} has {length}" for column, length in lengths.items())
        raise TableError(f"{name}: its columns differ in length: {shown}")
    return columns


def _json_lines(text: str, name: str) -> list[Any]:
    records = []
    for i, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                records.append(_loads(line))
            except ValueError as error:
                raise TableError(f"{name} cannot be read as jsonl: line {i}: {error}") from error
    return records


def _of_records(records: list[Any], name: str) -> dict[str, list[Any]]:
    """Columns of records, in the order of their first occurrence. If a record lacks a key, the value is missing."""
    for row, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise TableError(f"{name}: row {row} is not an object with a value for each column")
    columns = dict.fromkeys(key for record in records for key in record)
    return {column: [record.get(column) for record in records] for column in columns}


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(k for k in keys if keys.count(k) > 1)}' occurs twice in one object")
    return out

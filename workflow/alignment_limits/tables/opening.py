"""The bytes and lines of a user's file: UTF-8, perhaps compressed; lines end at \\n alone."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import polars as pl

from alignment_limits.errors import TableError

COMPRESSED = (".gz", ".zst")


def suffix_of(file: Path) -> str:
    """A file's format by its name, without a compression's suffix: `.csv` for `scores.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def stem_of(file: Path) -> str:
    """A file's name without its format and its compression."""
    return Path(file.stem).stem if file.suffix.lower() in COMPRESSED else file.stem


def read_bytes(file: Path, name: str) -> bytes:
    """The content of a text file: decompressed, without a byte order mark.

    Raises:
        TableError: not there, damaged, empty, UTF-16, or with NUL characters; `name` stands for the file.
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
    """The lines of a text file. They end at \\n, or \\r\\n; any other character, U+2028 too, is text.

    Raises:
        TableError: as `read_bytes` and `decoded`.
    """
    name = name or str(file)
    lines = decoded(read_bytes(file, name), name).split("\n")
    return [line.removesuffix("\r") for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _decompressed(file: Path) -> bytes:
    if file.suffix.lower() == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix.lower() == ".zst":  # Python 3.11 has no zstd; polars has
        return "\n".join(pl.read_lines(file).to_series(0).to_list()).encode()
    return file.read_bytes()

"""Files: hashes, atomic writes, and one message for a file that cannot be read."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from alignment_limits.errors import AlignmentLimitsError, ArtifactError


def digest(value: Any) -> str:
    """Short stable hash of plain data (settings, a source)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_sha256(path: str | Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def checksums(artifacts: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of files, and of all files in folders, by path. Links are followed."""
    files = [f for a in map(Path, artifacts) for f in (a.rglob("*") if a.is_dir() else [a])]
    return {str(f): file_sha256(f) for f in sorted(files) if f.is_file() and not f.name.startswith(".")}


CHECKSUM = "sha256 of the rest"
_UNSEALED = "0" * 64
_MARK = f'"{CHECKSUM}": "'.encode()


def blank() -> dict[str, str]:
    """The entry of a file's JSON metadata where `seal` puts the checksum."""
    return {CHECKSUM: _UNSEALED}


def seal(path: Path) -> None:
    """Write the SHA-256 of everything else in a file into the placeholder in its metadata."""
    content = path.read_bytes()
    at = content.rindex(_MARK + _UNSEALED.encode()) + len(_MARK)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(_sha256_around(content, at).encode())


def is_sealed(path: str | Path) -> bool:
    """Whether a file is, byte for byte, the one that `seal` wrote.

    Parquet alone does not detect all damage: in a quarter of all cases a flipped bit in a page gives other numbers.
    """
    content = Path(path).read_bytes()
    at = content.rfind(_MARK) + len(_MARK)
    return _MARK in content and content[at : at + 64] == _sha256_around(content, at).encode()


def _sha256_around(content: bytes, at: int) -> str:
    view = memoryview(content)
    out = hashlib.sha256(view[:at])
    out.update(_UNSEALED.encode())
    out.update(view[at + 64 :])
    return out.hexdigest()


class Stopwatch(contextlib.ContextDecorator):
    """Adds up the seconds spent in the functions it decorates (not in each other)."""

    def __init__(self) -> None:
        self.seconds = self._start = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start


TABLES = Stopwatch()  # seconds that a job spends on reading and writing tables


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file next to `path`. It replaces `path` if the block succeeds, and is removed if it fails.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArtifactError(
                f"no space left on the disk while writing {path}; free some and run again (finished files are kept)"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise ArtifactError(f"cannot write {path}: {error.strerror}; check the folder's permissions") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def unfinished(path: Path) -> Path:
    """The hidden name of a file or folder while this process writes it. `sweep` recognises it."""
    # processes on two machines that share a folder may have the same number
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A folder next to `path` for its unfinished pieces. It is removed when the block ends, or by a later run."""
    folder = unfinished(path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_PART = re.compile(r"\..+\.(?P<host>[^/]+)-(?P<process>\d+)\.part")
_ELSEWHERE = 3 * 86400.0  # a writer on another machine counts as gone after so many seconds without a change


def sweep(folders: Iterable[str | Path]) -> list[Path]:
    """Remove unfinished files that killed processes left anywhere below some folders.

    Only names from `unfinished` are removed, and only if no running process writes them.

    Returns:
        The removed paths.
    """
    removed = []
    for where, names, files in (found for folder in folders for found in os.walk(folder)):
        removed += [path for name in [*names, *files] if _swept(path := Path(where, name))]
        names[:] = [name for name in names if not _PART.fullmatch(name)]
    return removed


def sweep_of(path: Path) -> None:
    """Remove unfinished versions of one file that killed processes left."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        _swept(part)


def _swept(path: Path) -> bool:
    part = _PART.fullmatch(path.name)
    if part is None or _is_written(path, part["host"], int(part["process"])):
        return False
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return not path.exists()


def _is_written(path: Path, host: str, process: int) -> bool:
    """Whether the process that began a file may still write it."""
    try:
        inside = path.rglob("*") if path.is_dir() else []
        last = max(file.lstat().st_mtime for file in [path, *inside])
        if host != socket.gethostname():
            return time.time() - last < _ELSEWHERE
        os.kill(process, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # somebody else's process
    return _started(process) <= last + 1.0  # otherwise another process has the number now


def _started(process: int) -> float:
    """When a process started, in seconds since 1970; 0 where the system does not report it."""
    try:
        ticks = float(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def refuse_to_overwrite(
    out: Path, inputs: Iterable[str | Path], *, unless: Callable[[Path], bool] | None = None
) -> None:
    """Stop before a command overwrites a user's file or one of its own inputs.

    Args:
        out: the path of the output, from the user.
        inputs: files that the command reads.
        unless: whether an existing file is an earlier output of this command, and may be overwritten.

    Raises:
        ArtifactError: `out` is an input (under any name or link), a folder, or a file of another kind.
    """
    if not (out.exists() or out.is_symlink()):
        return
    for file in map(Path, inputs):
        if file.exists() and out.exists() and out.samefile(file):
            raise ArtifactError(f"{out} is an input of this command; choose another path for the output")
    if not out.is_file() or unless is None or not unless(out):
        raise ArtifactError(f"{out} exists and was not written by this command; move it away, or choose another path")


def link(folder: Path, shared: Path, names: Iterable[str]) -> None:
    """Create a folder of relative links to files of another folder. Both can then be moved together."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(os.path.relpath(shared / name, folder))


def write_json(value: Any, path: str | Path) -> None:
    """Write plain data as JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", "utf-8")


REMEDY = "it may be damaged or of another kind. To fetch it again, delete its folder in results/models and run"
_NOT_THE_FILE = ("OutOfMemoryError", "MemoryError", "ImportError", "ModuleNotFoundError")


@contextlib.contextmanager
def reading(path: str | Path, error: type[AlignmentLimitsError], remedy: str = REMEDY) -> Iterator[None]:
    """Turn any exception in the block, also a panic of a Rust library, into one message.

    Args:
        path: the file or folder that is read, for the message.
        error: the type to raise.

    Raises:
        AlignmentLimitsError: the block raised. Errors of this library, interrupts and a lack of memory pass unchanged.
    """
    try:
        yield
    except (AlignmentLimitsError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as found:  # panics of Rust are not an Exception
        if type(found).__name__ in _NOT_THE_FILE:
            raise
        said = " ".join(str(found).split())
        named = type(found).__name__
        culprit = damaged_in(Path(path))
        where = f"{path}: {culprit} is damaged" if culprit else f"{path} cannot be read"
        raise error(f"{where} ({named}{': ' + said[:200] if said else ''}); {remedy}") from found


def damaged_in(folder: Path) -> str:
    """The first file of a model's folder whose content does not fit its name; "" if there is none."""
    for file in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        try:
            whole = _is_mapping(file.read_bytes()) if file.suffix == ".json" else _is_safetensors(file)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            return file.name
    return ""


def _is_mapping(content: bytes) -> bool:
    return isinstance(json.loads(content), dict)


def _is_safetensors(file: Path) -> bool:
    """Whether the header gives the place of each tensor, and the file ends where the last tensor ends."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        size = file.stat().st_size
        if not 2 <= length <= size - 8:
            return False
        header = json.loads(opened.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends, default=0))

"""One message for a file that a library cannot read, whatever that library raises."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from alignment_limits.errors import AlignmentLimitsError

REMEDY = "it may be damaged, or of another kind: fetch its source again (delete its folder in results/models and run)"
_NOT_THE_FILE = ("OutOfMemoryError", "MemoryError", "ImportError", "ModuleNotFoundError")


@contextlib.contextmanager
def reading(path: str | Path, error: type[AlignmentLimitsError], remedy: str = REMEDY) -> Iterator[None]:
    """Turn whatever is raised in the block, panics of libraries written in Rust too, into one message.

    Args:
        path: the file or folder that is read, for the message.
        error: what to raise.

    Raises:
        AlignmentLimitsError: the block raised; one of ours passes as it is, as do interrupts and a lack of memory.
    """
    try:
        yield
    except (AlignmentLimitsError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as found:  # Rust's panics are no Exception
        if type(found).__name__ in _NOT_THE_FILE:
            raise
        said = " ".join(str(found).split())
        named = type(found).__name__
        culprit = damaged_in(Path(path))
        where = f"{path}: {culprit} is damaged" if culprit else f"{path} cannot be read"
        raise error(f"{where} ({named}{': ' + said[:200] if said else ''}); {remedy}") from found


def damaged_in(folder: Path) -> str:
    """The first file of a model's folder that is not what its name says, looked at by itself; "" if all are."""
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
    """Whether a header says where each tensor lies, and the file ends where the last one does."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        size = file.stat().st_size
        if not 2 <= length <= size - 8:
            return False
        header = json.loads(opened.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends, default=0))

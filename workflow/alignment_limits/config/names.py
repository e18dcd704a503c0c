"""Names as people have them, and the files' names made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OUR_FILES = (".parquet", ".json", ".html", ".pdf", ".png", ".log", ".tsv", ".npz", ".safetensors", ".part")
_LONGEST = 80


def file_name(name: str) -> str:
    """A name that any disk takes for itself alone: the name, if it is plain, else what is plain of it and a digest.

    Names that differ in case, in accents or in what is replaced have different digests, so they never share files, and
    none ends like a file of the workflow's own.

    Example:
        >>> file_name("brevity"), file_name("nvidia/Reward V2")
        ('brevity', 'nvidia-reward-v2-b0b07857')
    """
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST and not name.endswith((".", *_OUR_FILES)):
        return name
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")[: _LONGEST - 9].rstrip("-_")
    return f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def by_file_name(names: Iterable[str]) -> dict[str, str]:
    """Names by their files' names.

    Raises:
        ValueError: two of them would share files.
    """
    out: dict[str, str] = {}
    for name in names:
        if out.setdefault(file_name(name), name) != name:
            raise ValueError(
                f"'{out[file_name(name)]}' and '{name}' would share files named {file_name(name)}; rename one"
            )
    return out

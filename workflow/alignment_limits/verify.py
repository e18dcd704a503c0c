"""`python -m alignment_limits.verify results/<study>`: is a finished study still what the workflow made?

Derives the checksum of every artifact again and compares it with the study's manifest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from alignment_limits.errors import ArtifactError
from alignment_limits.files import file_sha256

MANIFEST = "manifest.json"


def checksums(artifacts: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of files, and of all files in folders, by path; links are followed."""
    files = [f for a in map(Path, artifacts) for f in (a.rglob("*") if a.is_dir() else [a])]
    return {str(f): file_sha256(f) for f in sorted(files) if f.is_file() and not f.name.startswith(".")}


def drift(manifest: Mapping[str, str]) -> dict[str, str]:
    """What became of the files that are no longer as made: `missing` or `changed`, by path."""
    out = {}
    for name, checksum in manifest.items():
        if not Path(name).is_file():
            out[name] = "missing"
        elif file_sha256(name) != checksum:
            out[name] = "changed"
    return out


def read_manifest(study: Path) -> dict[str, str]:
    """The manifest of a study's folder.

    Raises:
        ArtifactError: the study is not finished.
    """
    try:
        manifest: dict[str, str] = json.loads((study / MANIFEST).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{study / MANIFEST} is not there: finish the study first, `make study`") from error
    return manifest


def main(study: Path) -> str | None:
    """Print what holds; the message to end with, if anything drifted."""
    try:
        manifest = read_manifest(study)
    except ArtifactError as error:
        return str(error)
    drifted = drift(manifest)
    if not drifted:
        print(f"all {len(manifest)} files of {study} are as they were made")
        return None
    lines = [f"  {what}: {name}" for name, what in drifted.items()]
    lines.append("Delete what changed and run the study again: it is made anew, and what comes from it.")
    return "\n".join([f"{len(drifted)} of {len(manifest)} files of {study} are not as they were made:", *lines])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

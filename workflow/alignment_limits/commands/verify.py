"""`alignment-limits verify results/<study>`: is a finished study still what the workflow made?

Derives the checksum of every artifact again, compares it with the study's manifest, and each table's inputs with those
it was made from. With `--plan` and Snakemake's arguments (`--configfile study.yaml`) also: is it what the study file
and the code would make now?
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from alignment_limits.commands.why import explain, plan_of
from alignment_limits.errors import ArtifactError
from alignment_limits.files import file_sha256
from alignment_limits.jobs.records import doubt, record_of

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


def other_inputs(manifest: Mapping[str, str]) -> dict[str, str]:
    """Files that were made from inputs other than those there are now, and why we know."""
    records = {name: record_of(Path(name)) for name in manifest if Path(name).is_file()}
    return {name: why for name, record in records.items() if record and (why := doubt(Path(name), record))}


def verify(study: Path, arguments: Sequence[str] | None = None) -> str | None:
    """Print what holds; the message to end with, if anything drifted.

    Args:
        arguments: Snakemake's, for the study as it is now; None: only what was made is looked at.
    """
    try:
        manifest = read_manifest(study)
        drifted = drift(manifest) or other_inputs(manifest)
        plan = None if arguments is None else plan_of(arguments)
    except ArtifactError as error:
        return str(error)
    if drifted:
        lines = [f"  {what}: {name}" for name, what in sorted(drifted.items())]
        lines.append("Delete what changed and run the study again: it is made anew, and what comes from it.")
        return "\n".join([f"{len(drifted)} of {len(manifest)} files of {study} are not as they were made:", *lines])
    print(f"all {len(manifest)} files of {study} are as they were made")
    if plan is not None and plan.jobs:
        return f"but not as the study file and the code are now (`make why`):\n{explain(plan)}"
    return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("study", type=Path, help="the study's folder of results")
    parser.add_argument(
        "--plan",
        nargs=argparse.REMAINDER,
        help="Snakemake's arguments follow: also compare with what would be made now",
    )


def run(arguments: argparse.Namespace) -> str | None:
    """As `verify`."""
    return verify(arguments.study, arguments.plan)

"""Commands about finished studies: whether they are as made, and taking over copies."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from alignment_limits.commands.studies import explain, plan_of, study_name
from alignment_limits.errors import ArtifactError
from alignment_limits.files import file_sha256
from alignment_limits.jobs.records import doubt, modified, record_of, snakemakes

MANIFEST = "manifest.json"


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


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("study", type=Path, help="the study's folder of results")
    parser.add_argument(
        "--plan",
        nargs=argparse.REMAINDER,
        help="Snakemake's arguments follow: also compare with what would be made now",
    )


def run_verify(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits verify results/<study>`: is a finished study still what the workflow made?

    Derives the checksum of every artifact again, compares it with the study's manifest, and each table's inputs
    with those it was made from. With `--plan` and Snakemake's arguments (`--configfile study.yaml`) also: is it
    what the study file and the code would make now?"""
    return verify(arguments.study, arguments.plan)


LOCKS = Path(".snakemake/locks")


def results_in(folder: Path) -> Iterator[Path]:
    """Every result below a folder: tables, and what has a record next to it, the hidden file `.<name>.made`."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where, name)
            if name.startswith(".") and name.endswith(".made"):
                if (of := path.with_name(name.removeprefix(".").removesuffix(".made"))).exists():
                    yield of
            elif path.suffix == ".parquet" and not path.is_symlink() and not name.startswith("."):
                yield path


def adopt(folders: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Take over the results below folders, from the project's own folder.

    Returns:
        results taken over; of the others, why not.

    Raises:
        ArtifactError: a run is at work here, or a file cannot be written.
    """
    from snakemake.persistence.file import FilePersistence

    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        raise ArtifactError(
            "a run is at work in this folder, or was killed; wait for it, or `make study ARGS=--unlock`, then adopt "
            "again"
        )
    folders, now = list(folders), time.time()
    adopted, refused = dict[Path, dict[str, object]](), dict[Path, str]()
    for path in dict.fromkeys(result for folder in folders for result in results_in(folder)):
        record = record_of(path)
        if why := doubt(path, record, thorough=True):
            refused[path] = why
        elif record is not None:
            adopted[path] = record
    try:
        records = FilePersistence(nolock=True)
        for file in (f for folder in folders for f in folder.glob("benchmarks/**/*.tsv")):
            os.utime(file, (now, now))  # Snakemake counts these among a job's files
        for path, record in adopted.items():
            _touch(path, now)
            records._write_record(str(path), snakemakes(record, modified(path) or now))
    except OSError as error:
        raise ArtifactError(
            f"cannot write {error.filename}: {error.strerror}; check the folder's permissions"
        ) from error
    return list(adopted), refused


def _touch(path: Path, now: float) -> None:
    if path.is_dir():
        path = path / ".snakemake_timestamp"
        path.touch()
    os.utime(path, (now, now))


def folders_of(study: Path) -> list[Path]:
    """Where the results of a study lie: its own folder, the shards it may share, and models.

    Raises:
        ConfigError: the study file has no valid name.
    """
    results = Path("results")
    folders = [results / study_name(study), results / "models", results / "shared"]
    return [folder for folder in folders if folder.is_dir()]


def adopt_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = os.environ.get("STUDY") or "config/config.yaml"
    parser.add_argument("study", type=Path, nargs="?", default=Path(default), help="the study file")


def run_adopt(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits adopt [STUDY.yaml]`: take over results that were copied or lost `.snakemake`.

    Snakemake goes by times of files and by records that do not travel with results. What is, byte for byte, as its
    own record says, and made from inputs that are as they were, is given one new time and an entry in Snakemake's
    records: it is not made again because it was copied. Whether settings or code have changed since, the next run
    decides as ever."""
    folders = folders_of(arguments.study)
    if not folders:
        return f"error: no folder results/ has results of {arguments.study} here; run this in the project's folder"
    adopted, refused = adopt(folders)
    print(f"{len(adopted)} results are as they were made, and count as made here")
    if refused:
        print(f"{len(refused)} are not, and will be made again where the study needs them:")
        print("\n".join(f"  {path}: {why}" for path, why in refused.items()))
    print("`make why` says what a run would make")
    return None

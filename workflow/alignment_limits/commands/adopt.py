"""`alignment-limits adopt [STUDY.yaml]`: take over results that were copied or lost `.snakemake`.

Snakemake goes by times of files and by records that do not travel with results. What is, byte for byte, as its own
record says, and made from inputs that are as they were, is given one new time and an entry in Snakemake's records:
it is not made again because it was copied. Whether settings or code have changed since, the next run decides as ever.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from alignment_limits.errors import ArtifactError
from alignment_limits.jobs.records import doubt, modified, record_of, snakemakes

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
    from alignment_limits.commands.where import study_name

    results = Path("results")
    folders = [results / study_name(study), results / "models", results / "shared"]
    return [folder for folder in folders if folder.is_dir()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = os.environ.get("STUDY") or "config/config.yaml"
    parser.add_argument("study", type=Path, nargs="?", default=Path(default), help="the study file")


def run(arguments: argparse.Namespace) -> str | None:
    """Adopt and say what; the message to end with, if nothing could be."""
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

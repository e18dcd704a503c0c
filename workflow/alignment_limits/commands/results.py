"""Commands about finished studies: check their files, and take over copies."""

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
    """Files that differ from the manifest: `missing` or `changed`, by path."""
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
        raise ArtifactError(f"{study / MANIFEST} does not exist; finish the study first: `make study`") from error
    return manifest


def other_inputs(manifest: Mapping[str, str]) -> dict[str, str]:
    """Files whose inputs have changed since, each with what changed."""
    records = {name: record_of(Path(name)) for name in manifest if Path(name).is_file()}
    return {name: why for name, record in records.items() if record and (why := doubt(Path(name), record))}


def verify(study: Path, arguments: Sequence[str] | None = None) -> str | None:
    """Compare a study with its manifest; return the message about differences, None if there are none.

    Args:
        arguments: Snakemake's, to compare with the current study file and code; None: compare the files only.
    """
    try:
        manifest = read_manifest(study)
        drifted = drift(manifest) or other_inputs(manifest)
        plan = None if arguments is None else plan_of(arguments)
    except ArtifactError as error:
        return str(error)
    if drifted:
        lines = [f"  {what}: {name}" for name, what in sorted(drifted.items())]
        lines.append("To fix: delete the files listed and run the study again.")
        title = f"{len(drifted)} of {len(manifest)} files of {study} have changed since they were written:"
        return "\n".join([title, *lines])
    print(f"all {len(manifest)} files of {study} are unchanged")
    if plan is not None and plan.jobs:
        return f"but the study file or the code has changed since (`make why`):\n{explain(plan)}"
    return None


def verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("study", type=Path, help="the study's folder of results")
    parser.add_argument(
        "--plan",
        nargs=argparse.REMAINDER,
        help="also compare with the current study file and code; Snakemake's arguments follow",
    )


def run_verify(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits verify results/<study>`: check that the files of a finished study are unchanged.

    Compares the checksum of every file with the study's manifest, and the inputs of each table with those it was
    computed from. With `--plan` and Snakemake's arguments (`--configfile study.yaml`) it also checks whether the
    current study file and code would give other results."""
    return verify(arguments.study, arguments.plan)


LOCKS = Path(".snakemake/locks")


def results_in(folder: Path) -> Iterator[Path]:
    """Every result below a folder: tables, and files or folders with a record next to them (`.<name>.made`)."""
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
    """Take over the results below folders. Call it in the project's folder.

    Returns:
        The results taken over; the refused ones, with the reason.

    Raises:
        ArtifactError: a run is in progress here, or a file cannot be written.
    """
    from snakemake.persistence.file import FilePersistence

    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        raise ArtifactError(
            "a run is in progress in this folder, or was killed. Wait for it, or run `make study ARGS=--unlock`; then "
            "adopt again"
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
    """The folders of a study's results: its own, the shared shards, and the models.

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

    Snakemake compares file times, and its own records are not copied with results. This command checks each result
    against the record that is stored with it, byte for byte, and checks its inputs. A result that matches gets a new
    time and an entry in Snakemake's records, so the next run does not compute it again. The next run still checks
    whether settings or code have changed."""
    folders = folders_of(arguments.study)
    if not folders:
        return f"error: results/ has no results of {arguments.study}; run this command in the project's folder"
    adopted, refused = adopt(folders)
    print(f"{len(adopted)} results are unchanged and were taken over")
    if refused:
        print(f"{len(refused)} were refused; a run computes them again if the study needs them:")
        print("\n".join(f"  {path}: {why}" for path, why in refused.items()))
    print("`make why` shows what a run would do")
    return None

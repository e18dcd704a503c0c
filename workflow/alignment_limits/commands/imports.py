"""The command that imports samples of other projects."""

from __future__ import annotations

import argparse
from pathlib import Path

from alignment_limits.errors import ArtifactError, TableError
from alignment_limits.files import refuse_to_overwrite
from alignment_limits.importers.formats import FORMATS
from alignment_limits.importers.imported import IMPORTED, describe, import_files
from alignment_limits.importers.rows import Choices
from alignment_limits.tables.artifacts import read_provenance, versions, write_table


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    formats = "\n".join(f"  {name:<20}{entry.says}" for name, entry in FORMATS.items())
    parser.epilog = f"Formats (recognised if none is named):\n{formats}"
    parser.add_argument("given", nargs="+", metavar="[FORMAT] FILE", help="a format's name, then files and folders")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="TABLE", help="the table to write, Parquet")
    parser.add_argument("--prompt", metavar="COLUMN", help="generic: the column of prompts")
    parser.add_argument(
        "--reply", metavar="COLUMN", help="generic: the column of replies, or response for response_1 …"
    )
    parser.add_argument("--score", nargs="+", default=[], metavar="NAME", help="only these scores; generic: columns")
    parser.add_argument("--law", metavar="COLUMN", help="generic: the column that says what drew each reply")
    parser.add_argument("--id", metavar="COLUMN", help="generic: the column of prompts' ids")
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="FIELD=VALUE", help="only samples of this model, step, filter, …"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="at most so many samples of each prompt, the first ones"
    )
    parser.add_argument("--complete", nargs="+", default=[], metavar="NAME", help="only samples that have these scores")
    parser.add_argument(
        "--accept", nargs="+", default=[], metavar="FINDING", help="findings that do not refuse the samples"
    )


def run_import(arguments: argparse.Namespace) -> None:
    """`alignment-limits import [FORMAT] FILE… -o samples.parquet`: one table from samples of another project.

    Prints what was read, and whether it is a sample of one law. Findings that make limits wrong are refused unless
    they are accepted by name. The table is one for `alignment-limits frontier` and for `scores: {table: …}`."""
    if arguments.out.suffix != ".parquet":
        raise ArtifactError(f"{arguments.out}: the table is a .parquet file; use -o with this suffix")
    format, files = _format_and_files(arguments.given)
    refuse_to_overwrite(arguments.out, [file for file in files if file.is_file()], unless=_is_imported)
    choices = Choices(arguments.prompt, arguments.reply, tuple(arguments.score), arguments.law, arguments.id)
    if arguments.samples is not None and arguments.samples < 1:
        raise TableError(f"--samples is at least 1, not {arguments.samples}")
    imported = import_files(
        files,
        format,
        choices,
        keep=arguments.keep,
        accept=arguments.accept,
        complete=arguments.complete,
        most=arguments.samples,
    )
    for line in describe(imported):
        print(line)
    imported.check()
    made = {"stage": "import", "import": imported.provenance, "versions": versions(["alignment-limits", "polars"])}
    write_table(imported.table, arguments.out, IMPORTED, made)
    print(f"table: {arguments.out}, with this verdict in its metadata")


def _format_and_files(given: list[str]) -> tuple[str | None, list[Path]]:
    """The format, if the first word names one, and the files."""
    first, *rest = given
    if first in FORMATS or first == "auto":
        if not rest:
            raise TableError(f"give the files after the format '{first}'")
        return (None if first == "auto" else first), [Path(file) for file in rest]
    if not Path(first).exists() and rest:
        raise TableError(f"'{first}' is neither a file nor a format; formats: {', '.join(FORMATS)}")
    return None, [Path(file) for file in given]


def _is_imported(file: Path) -> bool:
    """Whether a file is an earlier output of this command."""
    try:
        return read_provenance(file).get("stage") == "import"
    except ArtifactError:
        return False

"""`alignment-limits where [STUDY.yaml]`: the folder of a study's results.

With `--slurm`, the prefix of its jobs' names. Without a file, the variable STUDY names it, or it is the default study.

What is printed is safe to hand to a shell: a name that is not plain is refused.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from alignment_limits.errors import ConfigError
from alignment_limits.jobs.slurm import prefix
from alignment_limits.study.base import Name
from alignment_limits.study.reading import read_study_file

DEFAULT = "config/config.yaml"


def study_name(file: Path, default: Path = Path(DEFAULT)) -> str:
    """The name of a study file's study; a file that names none is of the default study.

    Raises:
        ConfigError: no such file, not YAML, or a name that is not lower-case letters, digits, `.`, `_` and `-`.
    """
    try:
        study = read_study_file(file).values
    except ConfigError as error:
        raise ConfigError(f"{error}; correct STUDY=") if not file.exists() else error from None
    if "study" not in study and file != default:
        return study_name(default)
    try:
        return TypeAdapter(Name).validate_python(study.get("study"), strict=True)
    except ValidationError:
        raise ConfigError(
            f"study file {str(file)!r}: study: {study.get('study')!r} is no name; use lower-case letters, digits, "
            "'.', '_' and '-', beginning with a letter or digit"
        ) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = os.environ.get("STUDY") or DEFAULT
    parser.add_argument("study", type=Path, nargs="?", default=Path(default), help="the study file")
    parser.add_argument("--slurm", action="store_true", help="print the prefix of its Slurm jobs' names instead")


def run(arguments: argparse.Namespace) -> None:
    """Print the folder, or the prefix.

    Raises:
        ConfigError: no valid name.
    """
    name = study_name(arguments.study)
    print(prefix(name) if arguments.slurm else f"results/{name}")

"""`python -m alignment_limits.config.where [study.yaml]`: the folder of a study's results; with `--slurm`, the prefix
of its jobs' names. Without an argument, of the file that the variable STUDY names, or of the default study.

What is printed is safe to hand to a shell: a name that is not plain is refused.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from alignment_limits.config.base import Name
from alignment_limits.config.reading import read_study_file
from alignment_limits.errors import ConfigError
from alignment_limits.slurm import prefix

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


def main(given: Sequence[str]) -> str | None:
    """Print the folder, or the prefix; the message to end with where there is no valid name."""
    files = [word for word in given if word != "--slurm"] or [os.environ.get("STUDY") or DEFAULT]
    try:
        name = study_name(Path(files[0]))
    except ConfigError as error:
        return f"error: {error}"
    print(prefix(name) if "--slurm" in given else f"results/{name}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

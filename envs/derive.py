"""Write a conda environment file and an Apptainer definition from each lock: `python envs/derive.py envs/cpu.lock`."""

import re
import sys
from pathlib import Path

PYTHON = "3.11"  # the locks are compiled for this version
# index of the torch builds that are not in the package index
INDEX = {"cpu": "https://download.pytorch.org/whl/cpu"}

CONDA = """\
# Written from {name}.lock by `make lock`; do not edit. The lock leaves out some dependencies of its packages on
# purpose, so pip must install exactly this list (PIP_NO_DEPS). Only the lock contains hashes:
#   PIP_NO_DEPS=1 conda env create -f envs/{name}.yaml && conda activate alignment-limits
#   pip install --no-deps --no-build-isolation --editable .
name: alignment-limits
channels: [conda-forge, nodefaults]
dependencies:
  - python={python}
  - pip
  - pip:
{lines}
"""
APPTAINER = """\
# Written from {name}.lock by `make lock`; do not edit. In the project's folder, run:
#   apptainer build {name}.sif envs/{name}.def
#   apptainer run {gpu}{name}.sif --cores all
Bootstrap: docker
From: python:{python}-slim

%files
    envs/{name}.lock /opt/{name}.lock

%post
    pip install --no-cache-dir uv=={uv}
    uv pip sync --system --no-cache {options}/opt/{name}.lock

%environment
    # use the library of the folder in which it runs
    export PYTHONPATH="$PWD/workflow"

%runscript
    exec snakemake "$@"
"""


def pins(lock: str) -> dict[str, str]:
    """Versions of the packages of a lock, by package."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock, re.MULTILINE))


def conda(name: str, lock: str) -> str:
    """A conda environment file with the lock's versions."""
    lines = [f"--extra-index-url {INDEX[name]}"] if name in INDEX else []
    lines += [f"{package}=={version}" for package, version in pins(lock).items()]
    return CONDA.format(name=name, python=PYTHON, lines="\n".join(f"      - {line}" for line in lines))


def apptainer(name: str, lock: str) -> str:
    """An Apptainer definition that installs the lock and checks its hashes."""
    settings = (
        {"gpu": "--nv ", "options": ""}
        if name == "cuda"
        else {"gpu": "", "options": "--torch-backend=cpu " if name in INDEX else ""}
    )
    return APPTAINER.format(name=name, python=PYTHON, uv=pins(lock)["uv"], **settings)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        lock = path.read_text("utf-8")
        path.with_suffix(".yaml").write_text(conda(path.stem, lock), "utf-8")
        path.with_suffix(".def").write_text(apptainer(path.stem, lock), "utf-8")

"""The conda files and Apptainer definitions say what the locks say."""

import re
import sys

import pytest
import yaml
from running import ROOT

ENVS = ROOT / "envs"
sys.path.insert(0, str(ENVS))
import derive  # noqa: E402


@pytest.mark.parametrize("name", ["cpu", "cuda", "light"])
def test_derived_files_are_those_of_the_lock(name):
    lock = (ENVS / f"{name}.lock").read_text("utf-8")
    hint = "run `make lock`"
    assert (ENVS / f"{name}.yaml").read_text("utf-8") == derive.conda(name, lock), hint
    assert (ENVS / f"{name}.def").read_text("utf-8") == derive.apptainer(name, lock), hint


@pytest.mark.parametrize("name", ["cpu", "cuda", "light"])
def test_a_conda_file_pins_each_package_of_the_lock_once(name):
    environment = yaml.safe_load((ENVS / f"{name}.yaml").read_text("utf-8"))
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    pinned = [line for line in pip if not line.startswith("--")]
    # read from the lock another way: one hashed requirement a paragraph
    locked = [
        line.split()[0] for line in (ENVS / f"{name}.lock").read_text("utf-8").splitlines() if re.match(r"\w", line)
    ]
    assert pinned == locked
    names = {pin.split("==")[0] for pin in pinned}
    assert {"snakemake", "polars"} <= names
    assert ("torch" in names) == (name != "light")


def test_one_changed_version_changes_both_files():
    lock = "a==1 \\\n    --hash=sha256:0\nuv==0.1 \\\n    --hash=sha256:1\n"
    for make in (derive.conda, derive.apptainer):
        assert make("cpu", lock) != make("cpu", lock.replace("uv==0.1", "uv==0.2"))


def test_python_is_the_one_the_locks_are_made_for():
    assert f"--python-version {derive.PYTHON} " in (ROOT / "Makefile").read_text("utf-8")

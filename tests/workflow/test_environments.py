"""Jobs use the modules and the GPU they are given: shown by stand-ins for both."""

import os

import pytest

MODULE = """
module() {
  case $1 in
    load) shift; for name; do export LOADED_MODULES="$LOADED_MODULES $name"; done ;;
    purge) unset LOADED_MODULES ;;
  esac
}
"""
NOTES = """
import os
from pathlib import Path

_load = load


def load(folder, *, device, **settings):
    Path("noted").write_text(f"{device};{os.environ.get('LOADED_MODULES', '')}")
    return _load(folder, device=device, **settings)
"""


@pytest.fixture
def noting(finished, tmp_path, monkeypatch):
    """A finished study whose rewards by function note where they run; and one shard that is to be scored again."""
    project = finished.copy(tmp_path / "project")
    project.anew = True  # with the modules and the torch of its own environment
    with (project.folder / "workflow/alignment_limits/rewards/python_function.py").open("a") as file:
        file.write(NOTES)
    (folder,) = (project.folder / "results/shared").glob("*/scores/vowels-*")
    shard = min(folder.glob("*.parquet"))
    shard.unlink()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def run(*arguments, check=True):
        return project.run(shard.relative_to(project.folder), *arguments, check=check)

    return project, run


def noted(project):
    return (project.folder / "noted").read_text().split(";")


def test_jobs_load_the_modules_named(noting, tmp_path, monkeypatch):
    project, run = noting
    (tmp_path / "modules.sh").write_text(MODULE)
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "modules.sh"))
    monkeypatch.setenv("MODULES", "cuda/13.0 gcc/13")
    run("--sdm", "env-modules")
    assert noted(project) == ["cpu", " cuda/13.0 gcc/13"]


def test_scoring_uses_the_gpu_where_it_is_granted(noting, tmp_path, monkeypatch):
    project, run = noting
    asking = ("--set-resources", "score:gpu=1")
    said = run(*asking, check=False)
    assert "torch sees none" in said
    assert "Traceback" not in said
    run(*asking, "--resources", "gpu=0")  # asked for, none to have
    assert noted(project)[0] == "cpu"
    (tmp_path / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: True)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    run(*asking, "--forcerun", "score")
    assert noted(project)[0] == "cuda"

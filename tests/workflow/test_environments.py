"""Jobs use the modules and the GPU they are given: shown by stand-ins for both."""

import os
import re

import pytest
from project import Project

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
    assert "error in score: this job asked for 1 GPU, and this machine shows it none" in said
    assert "Traceback" not in said
    run(*asking, "--resources", "gpu=0")  # asked for, none to have
    assert noted(project)[0] == "cpu"
    (tmp_path / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: True)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    run(*asking, "--forcerun", "score")
    assert noted(project)[0] == "cuda"
    run("--forcerun", "score")
    assert noted(project)[0] == "cpu", "a job that asks for no GPU has none, whatever the machine has"


LIGHT = {"fetch", "prompts_chunk", "prompts", "convert", "preflight_sampling", "score_light", "policy_score_light"}


def test_jobs_with_models_ask_for_a_gpu_and_share_the_cores(tmp_path, tiny_model, monkeypatch):
    """Rules and devices of a study with policies, planned on a machine that seems to have eight GPUs and 32 cores."""
    (tmp_path / "torch-2.13.0.dist-info").mkdir()
    (tmp_path / "torch-2.13.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    listed = "".join(f"GPU {i}: H200 (UUID: GPU-{i})\n" for i in range(8))
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    plan = ("-n", "--cores", "32", "--configfile", "config/studies/safety_policies.yaml")
    project = Project.new(tmp_path / "project", tiny_model)
    project.anew = True
    asked = devices(project.run(*plan))
    assert {rule for rule, (_, gpus) in asked.items() if "1" in gpus} == {
        *("sample", "read_samples", "preflight_reward", "score", "train_policy", "policy_sample", "policy_score"),
        *("policy_kl", "policy_on_base"),
    }
    assert asked["sample"] == ({"4"}, {"1"})
    assert not LIGHT & {rule for rule, (_, gpus) in asked.items() if gpus - {"0"}}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    alone = devices(project.run(*plan))
    assert alone["sample"] == ({"32"}, {"0"})
    assert not any(gpus - {"0"} for _, gpus in alone.values())


def devices(said):
    """Threads and GPUs that the jobs of each rule ask for, in what a dry run lists."""
    asked = {}
    for job in re.split(r"^(?:local)?rule ", said, flags=re.MULTILINE)[1:]:
        threads, gpus = asked.setdefault(job.partition(":")[0], (set(), set()))
        threads.update(re.findall(r"threads: (\d+)", job))
        gpus.update(re.findall(r"gpu=(\d+)", job))
    return asked

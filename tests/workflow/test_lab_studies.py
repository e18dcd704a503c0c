"""Studies for a lab plan the right jobs; what they read from the hub or the user's disk is not there."""

import shutil
import subprocess
import sys

import pytest
from running import ROOT

from alignment_limits.why import read_plan

# shards: prompts / prompts per shard × samples / block, and the further prompts whose labels are trained on
LAB = {
    "lab_safety": (
        [],
        {
            "sample": 4 * 8 + 2 * 2,
            "score": 3 * 32 + 4,
            "features": 32 + 4,
            "train_head": 3,
            "score_trained": 3 * 32,
            "fine_tune": 1,
        },
    ),
    "lab_summarisation": (
        [f"models/pythia-{m}-tldr" for m in ("1b-sft", "1b-reward", "2.8b-reward", "6.9b-reward")],
        {"documents": 1, "sample": 2 * 8, "score": 5 * 16, "judge_reward": 5, "gold": 1},
    ),
    "lab_gold_labelled": (["data/gold_labelled_gens.parquet"], {"import_scores": 1, "frontier": 1, "best_of_n": 1}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workflow alone in a folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.mark.parametrize("study", LAB)
def test_a_lab_study_plans_the_right_jobs(folder, study):
    local, jobs = LAB[study]
    for path in local:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("models"):
            (folder / path).mkdir()
            (folder / path / "config.json").touch()
        else:
            (folder / path).touch()
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--cores", "1"]
    command += ["--configfile", f"config/studies/{study}.yaml"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
    planned = read_plan(run.stdout).jobs
    assert {rule: planned[rule] for rule in jobs} == jobs
    text = (ROOT / f"config/studies/{study}.yaml").read_text("utf-8")
    assert "NOT RUN HERE" in text
    assert "GPU-hour" in text

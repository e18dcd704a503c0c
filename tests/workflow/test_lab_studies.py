"""Studies for a lab plan the right jobs at full size; what they read from the hub or the user's disk is not there."""

import shutil
import subprocess

import forked
import pytest
import yaml
from running import ROOT

from alignment_limits.commands.studies import read_plan

FILES = {file.stem: file for file in sorted((ROOT / "config/studies").glob("*.yaml"))}
PLANNED = [name for name, file in FILES.items() if "NOT RUN HERE" in file.read_text("utf-8")]
# shards: prompts / prompts per shard × samples / block, and the further prompts whose labels are trained on
LAB = {
    "lab_safety": {
        "sample": 4 * 8 + 2 * 2,
        "score": 3 * 32 + 4,
        "features": 32 + 4,
        "train_head": 3,
        "score_trained": 3 * 32,
        "fine_tune": 1,
    },
    "lab_summarisation": {"documents": 1, "sample": 2 * 8, "score": 5 * 16, "judge_reward": 5, "gold": 1},
    "lab_gold_labelled": {"import_scores": 1, "frontier": 1, "best_of_n": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workflow alone in a folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def paths(value):
    """Every `path:` and `table:` of a study."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in ("path", "table"):
            yield inner
        yield from paths(inner)


@pytest.mark.parametrize("study", PLANNED)
def test_a_lab_study_plans_the_right_jobs(folder, study):
    text = FILES[study].read_text("utf-8")
    for path in paths(yaml.safe_load(text)):
        place = folder / path
        if place.suffix in (".parquet", ".csv", ".jsonl", ".json", ".txt"):  # else a model's folder
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        else:
            place.mkdir(parents=True, exist_ok=True)
            (place / "config.json").touch()
    command = forked.command("-m", "snakemake", "--dry-run", "--nocolor", "--cores", "1")
    command += ["--configfile", f"config/studies/{study}.yaml"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
    planned = read_plan(run.stdout).jobs
    jobs = LAB.get(study, {})
    assert {rule: planned[rule] for rule in jobs} == jobs
    assert planned["study_card"] == 1
    assert "GPU-hour" in text


def test_the_lab_studies_are_those_whose_jobs_are_known():
    assert set(LAB) <= set(PLANNED)

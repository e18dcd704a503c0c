"""Rewards called as their makers call them, or like the workflow's own files: their scores stay apart."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from project import Project

NAMES = ["Gold", "gold", "Skywork-Reward-V2-Llama-3.1-8B", "nvidia/Llama 3.1 RM", "rewards/accuracy", "standardised"]


@pytest.fixture
def project(tmp_path, tiny_model):
    """In a folder that a shell would take apart, with the environment inside."""
    project = Project.new(tmp_path / "my $study; 'x' (1)", tiny_model)
    (project.folder / ".venv").symlink_to(sys.prefix)
    project.anew = True
    return project


def test_a_table_s_columns_become_rewards_under_their_own_names(project):
    rng = np.random.default_rng(0)
    keys = {"prompt_id": np.repeat(["a", "b", "c"], 4), "sample_id": np.tile(np.arange(4), 3)}
    table = pl.DataFrame(keys | {name: rng.standard_normal(12) for name in NAMES})
    table.write_csv(project.folder / "my scores.csv")
    study = f"study: names\nscores: {{table: my scores.csv, gold: {NAMES[0]}, proxies: [{', '.join(NAMES[1:])}]}}\n"
    (project.folder / "study.yaml").write_text(study)
    command = project.command("results/names/ensembles/rewards.parquet")
    command["args"][0] = str(project.folder / ".venv/bin/python")
    run = subprocess.run(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.returncode == 0, run.stdout[-3000:]
    made = pl.read_parquet(project.folder / "results/names/ensembles/rewards.parquet")
    for name in NAMES:
        centred = table[name] - table.select(pl.col(name).mean().over("prompt_id"))[name]
        assert np.corrcoef(made[name], centred)[0, 1] > 1 - 1e-9
    assert len(list((project.folder / "results/names/scores").iterdir())) == len(NAMES)


def test_rewards_called_like_a_preflight_are_preflighted(project):
    own = {"kind": "python", "function": "own_rewards:vowels"}
    rewards = {name: own for name in ("sampling", "rewards", "preflight", "own/Vowels")}
    project.study({"gold": "sampling", "rewards": rewards, "ensembles": {}})
    assert project.plan().jobs["preflight_reward"] == 4

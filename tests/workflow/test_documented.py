"""What README and docs tell a reader to type works: commands in a project of seconds, study files, Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import foreign
import numpy as np
import polars as pl
import pytest
import yaml
from documented import ROOT, blocks, commands
from project import STUDY

from alignment_limits.study.load import load_study, over_default

DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
YAML = [block for block in blocks() if block.language == "yaml"]
PYTHON = [block for block in blocks() if block.language == "python" and block.runs]
OF_A_STUDY = re.compile(r"make study STUDY=config/studies/(\w+).yaml")
TOLD = commands()
# what runs elsewhere in CI
ELSEWHERE = {
    "make test": "CI",
    "make docs": "CI",
    "make plan": "test_scores_only.py; this study is too small for a pilot",
    "make plan STUDY=mine.yaml": "test_scores_only.py; this study is too small for a pilot",
    "make study STUDY=config/studies/<name>.yaml": "every study",
}


def runs_here(command):
    return command not in ELSEWHERE and not OF_A_STUDY.fullmatch(command)


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A finished tiny study that is the default one, and what a reader would have put beside it."""
    project = finished.copy(tmp_path_factory.mktemp("documented") / "project")
    folder = project.folder
    study = yaml.safe_dump(over_default(DEFAULT, STUDY), sort_keys=False)
    for file in ("config/config.yaml", "config/studies/small.yaml", "mine.yaml"):
        (folder / file).write_text(study, "utf-8")
    (folder / "resources").mkdir()
    for name in ("Makefile", "pyproject.toml", "envs", "resources/safety_scores.parquet"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("installed-"):
            (folder / ".venv" / entry.name).symlink_to(entry)
    for hardware in ("cpu", "cuda"):  # as if `make` had set it up
        mark = subprocess.run(["bash", "envs/setup.sh", "mark", hardware], cwd=folder, capture_output=True, text=True)
        (folder / mark.stdout.strip()).touch()
    for name in ("safety", "summarisation"):
        (folder / "results" / name).symlink_to(folder / "results/tiny")
    (folder / "docs/figures").mkdir(parents=True)
    for name in ("runs", "logs"):  # files of other projects
        (folder / name).mkdir(exist_ok=True)
    foreign.lm_eval(folder / "runs"), foreign.trl(folder / "runs", (1, 2)), foreign.openai_batch(folder)
    foreign.inspect(folder)[0].rename(folder / "logs/rivers.eval")
    foreign.monkeys(folder)
    rng = np.random.default_rng(0)
    lines = [{"prompt": f"{i}", "reply": f"{i} {j}", "rm": rng.normal()} for i in range(20) for j in range(32)]
    foreign.jsonl(folder / "my_samples.jsonl", lines)
    for shard in ("1", "2"):
        (folder / "shards" / shard).mkdir(parents=True)
        keys = {
            "prompt_id": np.repeat([f"{shard}-{i}" for i in range(20)], 16),
            "sample_id": np.tile(np.arange(16), 20),
        }
        scores = {name: rng.normal(size=320) for name in ("rm", "human")}
        pl.DataFrame(keys | scores, schema_overrides={"sample_id": pl.Int32}).write_parquet(
            folder / "shards" / shard / "a.parquet"
        )
    return folder


def test_there_are_commands_to_run():
    assert {"make study", "make why", ".venv/bin/snakemake --cores all -n"} <= set(filter(runs_here, TOLD))


@pytest.mark.parametrize("command", [command for command in TOLD if runs_here(command)])
def test_a_command_of_the_docs_runs(project, command):
    environment = os.environ | {"PATH": f".venv/bin:{os.environ['PATH']}", "PYTHONPATH": str(project / "workflow")}
    environment |= {"PYTHONDONTWRITEBYTECODE": ""}
    run = subprocess.run(["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True)
    said = run.stdout + run.stderr
    assert run.returncode == 0, f"{command} ({', '.join(TOLD[command])}):\n{said[-3000:]}"
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [command for command in TOLD if OF_A_STUDY.fullmatch(command)])
def test_a_study_that_the_docs_name_is_there(command):
    assert (ROOT / "config/studies" / f"{OF_A_STUDY.fullmatch(command)[1]}.yaml").is_file()


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_of_the_docs_runs(block):
    names = {"scores": np.random.default_rng(0).normal(size=(100, 32))}
    given = {*names, "__builtins__"}
    exec(compile(block.text, str(block), "exec"), names)
    assert names.keys() - given, "it defines something"


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_study_file_of_the_docs_is_valid(block):
    text = re.sub(r"(: *)(?:\.\.\.|…)", r"\1left out", block.text.replace("<40-digit commit>", "a" * 40))
    part = _whole(yaml.safe_load(text))
    if "set-resources" in part:
        rules = "\n".join(file.read_text("utf-8") for file in (ROOT / "workflow/rules").glob("*.smk"))
        assert all(re.search(rf"^ *rule {name}:", rules, re.M) for name in part["set-resources"])
        return
    if all(isinstance(value, dict) and "kind" in value for value in part.values()):
        part = {"rewards": part}
    own = ROOT / "config/studies" / f"{Path(block.page).stem}.yaml"
    base = over_default(DEFAULT, yaml.safe_load(own.read_text("utf-8"))) if own.is_file() else DEFAULT
    if "rewards" in part and "gold" not in part:
        part["rewards"] = base["rewards"] | part["rewards"]
        part.setdefault("gold_labels", {"prompts": 64, "samples_per_prompt": 32})
    load_study(over_default(base, part), str(block))


def _whole(value):
    """With what a reader fills in for an ellipsis."""
    if isinstance(value, list):
        return [_whole(v) for v in value]
    if not isinstance(value, dict):
        return value
    kept = {k: _whole(v) for k, v in value.items() if k != "…"}
    if set(value) == {"…"} or "package" in kept:
        return {"package": "name==1", "sha256": "0" * 64}
    return kept

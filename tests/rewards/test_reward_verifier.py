"""Verifiers: functions that check a reply against its prompt's answer, from the prompt file to the scores."""

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import ValidationError
from snakemake.iocontainers import InputFiles, OutputFiles, Params

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import Prompt
from alignment_limits.rewards.load import by_prompt, load_reward, read_beside
from alignment_limits.rewards.preflight import PROBES, load_and_preflight, warnings_of
from alignment_limits.study.rewards import Python
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.prompts import read_prompts
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES, SCORES

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow/scripts"
MADE = {"study": "tiny", "stage": "test", "seed": 0, "versions": {"numpy": "2"}}
FUNCTIONS = r"""
import re
ANSWERS = {"What is 6 · 7?": "42", "What is 2 + 2?": "4"}
ASKED = []
def boxed(prompts, replies, *, answer):
    return [float(f"\\boxed{{{a}}}" in r) for a, r in zip(answer, replies)]
def strict(prompts, replies, *, answer):
    return [float(a in r) for a, r in zip(answer, replies)]
def fixed(prompts, replies):
    return [float("\\boxed{42}" in r) for r in replies]
def lookup(prompts, replies):
    ASKED.extend(prompts)
    return [float(ANSWERS[p] in r) for p, r in zip(prompts, replies)]
def counts(prompts, replies):
    counts.calls = getattr(counts, "calls", 0) + 1
    return [float(counts.calls > 2)] * len(replies)
"""
FILE = [
    {"id": 1, "text": "What is 6 · 7?", "answer": 42, "reference": "It is \\boxed{42}."},
    {"id": 2, "text": "What is 2 + 2?", "answer": 4, "reference": None},
    {"id": 3, "text": "What is 6 · 7?", "answer": 42, "reference": None},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "verifiers.py").write_text(FUNCTIONS, "utf-8")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/sums.jsonl").write_text("\n".join(map(json.dumps, FILE)), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "verifiers", raising=False)
    return tmp_path


def _spec(function, **more) -> dict:
    return Python.model_validate({"kind": "python", "function": f"verifiers:{function}"} | more).model_dump()


def _prompts(folder) -> pl.DataFrame:
    return read_prompts(folder / "source").with_columns(prompt=pl.col("text"))


def _files(named) -> InputFiles:
    """Files, and lists of files, by name, as Snakemake gives them."""
    files = InputFiles()
    for name, value in named.items():
        start, several = len(files), isinstance(value, list)
        files.extend(value if several else [value])
        files._set_name(name, start, end=len(files) if several else None)
    return files


def _run(script, inputs, output, spec, name, **more) -> None:
    job = SimpleNamespace(
        input=_files(inputs),
        output=OutputFiles(fromdict={output[0]: output[1]}),
        params=Params(fromdict={"p": {"spec": spec, "name": name} | more, "code": {}}),
        wildcards=SimpleNamespace(reward=name, scorer=name),
        log=[f"{script}.log"],
        rule=script,
        threads=1,
        resources={},
        config={"study": "tiny"},
    )
    runpy.run_path(str(SCRIPTS / f"{script}.py"), {"snakemake": job})


def test_a_column_of_the_prompt_file_reaches_the_function(folder):
    prompts = _prompts(folder)
    write_table(prompts, "prompts.parquet", PROMPTS, MADE)
    replies = ["\\boxed{42}", "\\boxed{4}", "42", "\\boxed{42}"]
    samples = pl.DataFrame(
        {
            "prompt_id": ["sums-0000", "sums-0000", "sums-0001", "sums-0002"], "sample_id": [0, 1, 0, 0],
            "text": replies, "token_ids": [[1]] * 4, "n_tokens": [1] * 4, "logprob": [-1.0] * 4,
            "finish_reason": ["stop"] * 4, "seed": [1] * 4,
        }
    )  # fmt: skip
    write_table(samples, "samples.parquet", SAMPLES, MADE)
    spec = _spec("boxed", columns=["answer"])
    inputs = {"samples": "samples.parquet", "prompts": "prompts.parquet"}
    _run("score", inputs, ("scores", "scores.parquet"), spec, "boxed")
    scores = read_table("scores.parquet", SCORES)
    assert scores["score"].to_list() == [1, 0, 0, 1]
    inputs = {"prompts": ["prompts.parquet"], "training": []}
    asked = {"optimized": False, "max_new_tokens": 8}
    _run("preflight_reward", inputs, ("passed", "passed.json"), spec, "boxed", **asked)
    figures = json.loads(Path("passed.json").read_text("utf-8"))
    assert figures["highest"] == 1, "the reference of the first prompt passes"
    assert not figures["constant"]
    assert figures["provenance"]["config"] == {"spec": spec, "name": "boxed"} | asked


def test_the_preflight_reads_every_chunk_of_prompts_also_those_that_rewards_are_trained_on(folder):
    prompts = _prompts(folder)
    lacks = prompts.head(1).with_columns(prompt_id=pl.lit("late"), answer=pl.lit(None, pl.String))
    write_table(prompts, "prompts.parquet", PROMPTS, MADE)
    write_table(lacks, "late.parquet", PROMPTS, MADE)
    settings = {"spec": _spec("strict", columns=["answer"]), "name": "strict", "max_new_tokens": 8}
    for inputs in (["prompts.parquet", "late.parquet"], []), (["prompts.parquet"], ["late.parquet"]):
        files = dict(zip(("prompts", "training"), inputs, strict=True))
        with pytest.raises(SystemExit):
            _run("preflight_reward", files, ("passed", "passed.json"), **settings, optimized=False)
        assert "prompt 'late': " in Path("preflight_reward.log").read_text("utf-8")


def test_a_reward_that_policies_are_trained_on_is_refused_where_prompts_of_one_text_differ(folder):
    prompts = _prompts(folder)
    other = prompts.head(1).with_columns(prompt_id=pl.lit("late"), answer=pl.lit("41"))
    write_table(pl.concat([prompts, other]), "prompts.parquet", PROMPTS, MADE)
    files = {"prompts": ["prompts.parquet"], "training": []}
    settings = {"spec": _spec("boxed", columns=["answer"]), "name": "boxed", "max_new_tokens": 8}
    with pytest.raises(SystemExit):
        _run("preflight_reward", files, ("passed", "passed.json"), **settings, optimized=True)
    assert "prompt 'late' has the text of another prompt" in Path("preflight_reward.log").read_text("utf-8")
    _run("preflight_reward", files, ("passed", "passed.json"), **settings, optimized=False)


def test_a_verifier_that_no_probe_passes_is_not_refused(folder):
    figures = load_and_preflight(_spec("fixed"), None, "fixed", prompts=["What is 6 · 7?"])
    assert figures["constant"]
    assert (figures["lowest"], figures["highest"]) == (0, 0)
    assert warnings_of(figures)[0].startswith("reward 'fixed' gives 0 to all 10 probe texts: right for a verifier")
    with pytest.raises(RewardError, match="depends on the texts scored with it"):
        load_and_preflight(_spec("counts"), None, "counts", prompts=["What is 6 · 7?"])


def test_a_function_that_looks_its_prompt_up_is_asked_for_the_studys_prompts_only(folder):
    prompts = list(read_beside({}, _prompts(folder)).values())
    figures = load_and_preflight(_spec("lookup"), None, "lookup", prompts=prompts)
    assert figures["probes"] == len(PROBES)
    assert set(sys.modules["verifiers"].ASKED) == {row["text"] for row in FILE}


def test_a_column_that_is_not_there_is_named_with_those_that_are(folder):
    with pytest.raises(RewardError, match=r"no column 'solution'; there are: prompt_id, text, .*answer"):
        read_beside(_spec("boxed", columns=["solution"]), _prompts(folder))
    reward = load_reward(_spec("boxed", columns=["answer"]), None)
    with pytest.raises(RewardError, match="asks for the column 'answer' of the prompts, which have none here"):
        reward.score(["What is 6 · 7?"], ["42"])


def test_equal_prompts_with_other_answers_are_scored_apart(folder):
    reward = load_reward(_spec("boxed", columns=["answer"]), None)
    prompts = [Prompt("Which?", {"answer": "a"}), Prompt("Which?", {"answer": "b"}), Prompt("Which?", {"answer": "a"})]
    np.testing.assert_array_equal(reward.score(prompts, ["\\boxed{a}"] * 3).score, [1, 0, 1])


def test_in_training_prompts_of_one_text_must_agree(folder):
    spec, prompts = _spec("boxed", columns=["answer"]), _prompts(folder)
    found = by_prompt(read_beside(spec, prompts), prompts)
    assert found["What is 2 + 2?"].columns == {"answer": "4"}
    other = prompts.with_columns(answer=pl.Series(["42", "4", "43"]))
    with pytest.raises(RewardError, match="prompt 'sums-0002' has the text of another prompt, but other columns"):
        by_prompt(read_beside(spec, other), other)


def test_the_example_of_the_documentation_scores_as_it_says(tmp_path, monkeypatch):
    page = (
        (SCRIPTS.parents[1] / "docs/models.md")
        .read_text("utf-8")
        .partition("## A verifier with answers")[2]
        .partition("\n## ")[0]
    )
    blocks = dict(re.findall(r"```(json|python|yaml)\n(.*?)```", page, re.DOTALL))
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums/sums.jsonl").write_text(blocks["json"], "utf-8")
    (tmp_path / "verifiers.py").write_text(blocks["python"], "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "verifiers", raising=False)
    prompts = read_prompts(tmp_path / "sums").with_columns(prompt=pl.col("text"))
    spec = Python.model_validate(yaml.safe_load(blocks["yaml"])["rewards"]["correct"]).model_dump()
    first, second = read_beside(spec, prompts).values()
    replies = ["It is \\boxed{42}.", "42", "\\boxed{4}", "\\boxed{42} or \\boxed{ 4 }"]
    score = load_reward(spec, None).score([first, first, first, second], replies).score
    np.testing.assert_array_equal(score, [1, 0, 0, 1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["final answer"], "'final answer' cannot be the name of an argument"),
        (["replies"], "'replies' cannot be the name of an argument"),
        (["strict"], "columns and options both pass 'strict'"),
        (["answer", "answer"], "named twice"),
    ],
)
def test_columns_that_cannot_be_passed_are_refused(columns, message):
    with pytest.raises(ValidationError, match=message):
        _spec("boxed", columns=columns, options={"strict": True})

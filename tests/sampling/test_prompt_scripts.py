"""Prompts from a user's file to the model: what the scripts write, and what the preflight shows of it."""

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import PROMPTS

ROOT = Path(__file__).parents[2]


def run(script, folder, **job):
    fields = {"input": {}, "output": {}, "params": {}} | job
    files = {key: _Input(value) for key, value in fields.items()}
    snakemake = SimpleNamespace(
        **files,
        log=[str(folder / f"{script}.log")],
        rule=script,
        config={"study": "s", "seed": 0},
        threads=1,
        resources={},
    )
    runpy.run_path(str(ROOT / f"workflow/scripts/{script}.py"), init_globals={"snakemake": snakemake})


class _Input(dict):
    """Files by name, as Snakemake gives them."""

    __getattr__ = dict.__getitem__

    def __iter__(self):
        return (f for value in self.values() for f in (value if isinstance(value, list) else [value]))


@pytest.mark.parametrize(("system", "shown"), [(None, "<s>Why?"), ("Be kind.", "<s>Be kind.<s>Why?")])
def test_the_preflight_shows_the_first_prompt_as_the_model_reads_it(tmp_path, tiny_model, capsys, system, shown):
    source = tmp_path / "source"
    source.mkdir()
    (source / "p.jsonl").write_text(json.dumps({"prompt_id": 7, "messages": [{"role": "user", "content": "Why?"}]}))
    settings = {"first": 0, "end": 1, "seed": 0, "template": "chat", "text_column": "text", "stratify_by": None}
    settings |= {"trust_remote_code": False, "max_new_tokens": 5, "date": "2024-07-26", "context": None, "policies": []}
    settings |= {} if system is None else {"system": system}
    prompts, passed = tmp_path / "prompts.parquet", tmp_path / "passed.json"
    params = {"p": settings, "code": {}}
    files = {"source": str(source), "model": str(tiny_model)}
    run("prompts_chunk", tmp_path, input=files, output={"prompts": prompts}, params=params)
    table = read_table(prompts, PROMPTS)
    assert table.row(0, named=True)["text"] == shown
    assert table["prompt"].to_list() == ["Why?"], "what rewards read"
    files = {"prompts": [prompts], "model": str(tiny_model)}
    run("preflight_sampling", tmp_path, input=files, output={"passed": passed}, params=params)
    assert json.loads(passed.read_text())["first_prompt"] == shown
    assert f"the first prompt, as the model reads it: {shown!r}" in capsys.readouterr().err


def test_the_preflight_names_a_policy_whose_context_is_too_short(tmp_path, tiny_model, capsys):
    source, policy = tmp_path / "source", shutil.copytree(tiny_model, tmp_path / "policy")
    source.mkdir()
    (source / "p.txt").write_text("A prompt of more than twenty letters.\n")
    config = json.loads((policy / "config.json").read_text("utf-8"))
    (policy / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 40}))
    settings = {"first": 0, "end": 1, "seed": 0, "template": "none", "text_column": "text", "stratify_by": None}
    settings |= {"trust_remote_code": False, "max_new_tokens": 8, "date": None, "context": None}
    prompts = tmp_path / "prompts.parquet"
    made = {"params": {"p": settings | {"policies": ["dpo"]}, "code": {}}}
    run("prompts_chunk", tmp_path, input={"source": str(source), "model": []}, output={"prompts": prompts}, **made)
    short = tmp_path / "short.parquet"
    write_table(read_table(prompts, PROMPTS).with_columns(text=pl.lit("Hi")), short, PROMPTS, {"rule": "prompts_chunk"})
    files = {"prompts": [prompts], "model": str(tiny_model), "policies": [str(policy)]}
    with pytest.raises(SystemExit):
        run("preflight_sampling", tmp_path, input=files, output={"passed": tmp_path / "passed.json"}, **made)
    said = capsys.readouterr().err
    assert "no room for 8 new tokens in the context of policy 'dpo' (40 tokens): p-0000 (37 tokens)" in said
    for fine in (files | {"policies": [str(tiny_model)]}, files | {"prompts": [short], "training": [prompts]}):
        run("preflight_sampling", tmp_path, input=fine, output={"passed": tmp_path / "passed.json"}, **made)

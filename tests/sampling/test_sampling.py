"""Sampling: seeds, the law that is sampled, and refusals. The engines are the real ones on a tiny model."""

import os
import subprocess

import forked
import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import PromptError, SamplingError
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.sampling.checks import summarise
from alignment_limits.sampling.shard import encode, render, sample_shard
from alignment_limits.study.base import Source
from alignment_limits.study.sampling import (
    Model,
    Sampling,
    block_names,
    block_seed,
    chunk_names,
    chunk_range,
    chunk_size,
)
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.schemas.samples import SAMPLES

PROMPTS = pl.DataFrame({"prompt_id": ["a", "b", "c"], "text": ["hello", "once upon a time", "x"]})


def settings(**changes):
    base = {"engine": "transformers", "samples_per_prompt": 8, "block": 4, "max_new_tokens": 6}
    return Sampling(**(base | changes))


def draw(folder, prompts=PROMPTS, *, number=0, seed=0, **changes):
    """Block `number` of a shard of all prompts."""
    model = Model(name="tiny", source=Source(path=str(folder)))
    table, figures = sample_shard(
        prompts, folder, model, settings(**changes), template="none", study_seed=seed, block=number
    )
    return table, figures


def test_a_shard_keeps_the_contract(tiny_model, tmp_path):
    table, figures = draw(tiny_model, number=1)
    write_table(table, tmp_path / "s.parquet", SAMPLES, {})
    assert table["sample_id"].to_list() == [4, 5, 6, 7] * 3
    assert (table["n_tokens"] == table["token_ids"].list.len()).all()
    assert figures["tokens"] == table["n_tokens"].sum()


def test_no_sample_depends_on_what_else_is_in_its_shard(tiny_model):
    together, _ = draw(tiny_model)
    alone = pl.concat([draw(tiny_model, PROMPTS[i : i + 1])[0] for i in (2, 0, 1)]).sort("prompt_id", "sample_id")
    assert together.sort("prompt_id", "sample_id").equals(alone)


def test_another_block_prompt_or_seed_draws_other_samples(tiny_model):
    texts = [
        draw(tiny_model)[0]["text"].to_list(),
        draw(tiny_model, number=1)[0]["text"].to_list(),
        draw(tiny_model, seed=1)[0]["text"].to_list(),
    ]
    assert texts[0] == draw(tiny_model)[0]["text"].to_list()
    assert len({tuple(t) for t in texts}) == 3
    assert len({block_seed(s, p, b) for s in range(5) for p in "abcde" for b in range(5)}) == 125


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
def test_logprob_is_that_of_the_sampled_law(tiny_model, temperature, top_p):
    table, _ = draw(tiny_model, temperature=temperature, top_p=top_p, max_new_tokens=12)
    expected = [law(tiny_model, t, ids, temperature, top_p) for t, ids in texts_and_ids(table)]
    np.testing.assert_allclose(table["logprob"], expected, atol=2e-5)


def texts_and_ids(table):
    prompts = dict(PROMPTS.select("prompt_id", "text").iter_rows())
    return [(prompts[r["prompt_id"]], r["token_ids"]) for r in table.iter_rows(named=True)]


def law(folder, text, reply, temperature, top_p):
    """log π(reply | text) by one plain forward pass per token, nucleus and all."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    context, total = tokenizer(text)["input_ids"], 0.0
    for token in reply:
        with torch.inference_mode():
            logits = model(torch.tensor([context])).logits[0, -1].double() / temperature
        p = torch.softmax(logits, -1)
        order = torch.argsort(p, descending=True)
        kept = order[: int((torch.cumsum(p[order], 0) < top_p).sum()) + 1]
        total += float(torch.log(p[token] / p[kept].sum()))
        context = [*context, token]
    return total


def test_replies_end_at_the_stop_token_and_say_why(tiny_model):
    table, _ = draw(tiny_model, max_new_tokens=100, temperature=2.0, samples_per_prompt=32, block=16)
    assert set(table["finish_reason"]) == {"stop", "length"}
    for row in table.iter_rows(named=True):
        stopped = row["finish_reason"] == "stop"
        assert (row["token_ids"][-1] == 2) == stopped
        assert 2 not in row["token_ids"][:-1]
        assert "</s>" not in row["text"]


def test_samples_follow_the_exact_law(tiny_model):
    """First tokens of many samples against the softmax they come from: a chi-square within its range."""
    import torch
    from transformers import AutoModelForCausalLM

    n = 4000
    table, _ = draw(tiny_model, PROMPTS[:1], samples_per_prompt=n, block=n, max_new_tokens=1)
    ids = load_tokenizer(tiny_model)("hello")["input_ids"]
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(tiny_model)(torch.tensor([ids])).logits[0, -1].double()
    p = torch.softmax(logits, -1).numpy()
    counts = np.bincount(np.concatenate(table["token_ids"].to_list()), minlength=len(p))
    common = p * n >= 5
    expected = np.append(p[common] * n, p[~common].sum() * n)
    observed = np.append(counts[common], counts[~common].sum())
    chi2 = ((observed - expected) ** 2 / expected).sum()
    k = len(expected) - 1
    assert abs(chi2 - k) < 4 * np.sqrt(2 * k)


def test_vllm_samples_the_same_law_reproducibly(tiny_model, tmp_path):
    """vLLM in a process of its own: its log-probs are transformers', and no layout changes a sample."""
    script = """
import sys, polars as pl
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import test_sampling as t
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
for name, options in {"plain": {}, "hot": {"temperature": 1.3, "top_p": 0.8}}.items():
    t.draw(folder, engine="vllm", max_new_tokens=12, **options)[0].write_parquet(out / f"{name}.parquet")
alone = pl.concat([t.draw(folder, t.PROMPTS[i:i+1], engine="vllm", max_new_tokens=12)[0] for i in (1, 0, 2)])
alone.write_parquet(out / "alone.parquet")
"""
    (tmp_path / "run.py").write_text(script)
    command = forked.command(
        str(tmp_path / "run.py"), str(tiny_model), str(tmp_path), os.path.dirname(__file__), vllm=True
    )
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    plain, hot, alone = (pl.read_parquet(tmp_path / f"{n}.parquet") for n in ("plain", "hot", "alone"))
    assert plain.sort("prompt_id", "sample_id").equals(alone.sort("prompt_id", "sample_id"))
    for table, temperature, top_p in ((plain, 1.0, 1.0), (hot, 1.3, 0.8)):
        expected = [law(tiny_model, t, ids, temperature, top_p) for t, ids in texts_and_ids(table)]
        np.testing.assert_allclose(table["logprob"], expected, atol=5e-5)


def test_too_long_and_empty_prompts_are_named(tiny_model):
    long = pl.DataFrame({"prompt_id": ["ok", "long"], "text": ["x", "y" * 125]})
    with pytest.raises(PromptError, match=r"1 prompt\(s\) leave no room for 6 new tokens.*\(128 tokens\): long"):
        draw(tiny_model, long)
    with pytest.raises(PromptError, match=r"without a single token: empty"):
        draw(tiny_model, pl.DataFrame({"prompt_id": ["empty"], "text": [""]}))


def test_two_bos_tokens_are_refused(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    with pytest.raises(SamplingError, match="two BOS tokens"):
        encode(["<s><s>hello"], tokenizer, "none")
    rendered = render(["hello"], tokenizer)
    assert encode(rendered, tokenizer, "chat")[0][:2].count(tokenizer.bos_token_id) == 1


def test_larger_studies_keep_the_shards_they_have():
    size = chunk_size(shard_tokens=1000, block=10, max_new_tokens=20)
    assert size == 4
    small, large = chunk_names(12, size), chunk_names(39, size)
    assert large[: len(small)] == small
    assert [chunk_range(c) for c in small] == [(0, 4), (4, 8), (8, 12)]
    assert chunk_range(large[-1]) == (36, 39)
    assert block_names(64, 32) == block_names(128, 32)[:2]


def test_a_shards_figures_are_counts_of_its_rows(tiny_model):
    table, figures = draw(tiny_model)
    cut = (table["finish_reason"] == "length").sum()
    replies = {(row["prompt_id"], row["text"]) for row in table.iter_rows(named=True)}
    assert figures["tokens"] == sum(map(len, table["token_ids"]))
    assert figures["truncation_rate"] == cut / table.height
    assert figures["duplicate_rate"] == pytest.approx(1 - len(replies) / table.height)
    assert figures["unknown_rate"] == table["n_unknown"].sum() / figures["tokens"]
    # seconds are rounded to hundredths, tokens a second to tenths
    fewest, most = (figures["tokens"] / max(figures["seconds"] + side, 1e-9) for side in (0.005, -0.005))
    assert fewest - 0.1 <= figures["tokens_per_second"] <= most + 0.1


def test_the_summary_counts_what_the_shards_hold(tiny_model, tmp_path):
    shards = []
    for block in (0, 1):
        shards.append(tmp_path / f"{block}.parquet")
        write_table(draw(tiny_model, number=block)[0], shards[-1], SAMPLES, {})
    rows = pl.concat([pl.read_parquet(s) for s in shards]).filter(pl.col("prompt_id") == "b")
    summary = summarise(shards).filter(pl.col("prompt_id") == "b").row(0, named=True)
    assert summary["n_samples"] == 8
    assert summary["distinct_share"] == rows["text"].n_unique() / 8
    assert summary["truncation_rate"] == rows.filter(pl.col("finish_reason") == "length").height / 8
    assert summary["mean_logprob"] == pytest.approx(rows["logprob"].mean())


def test_where_a_model_runs_decides_no_sample():
    """Settings of the machine reach the job without being settings of its samples; kernels of another kind are one."""
    source = {"path": "m"}
    plain = Model(name="m", source=source)
    here = Model(name="m", source=source, tensor_parallel=4, gpu_memory_utilization=0.5, kl_dtype="bfloat16")
    decided = [model.model_dump(exclude=model.decides_nothing) for model in (plain, here)]
    assert decided[0] == decided[1]
    assert plain.settings() == here.settings()
    placed = Model.placed(plain.settings(), {"model": {"name": "other", "tensor_parallel": 4}}, "folder")
    assert (placed.name, placed.tensor_parallel, placed.source.path) == ("m", 4, "folder")
    other = Model(name="m", source=source, batch_invariant=True)
    assert other.settings() == plain.settings() | {"batch_invariant": True}
    assert "batch_invariant" in other.model_dump(exclude=other.decides_nothing)


def test_gpu_options_reach_vllm():
    from alignment_limits.sampling.vllm_engine import _options

    half = Model(name="m", source={"path": "m"}, dtype="bfloat16", gpu_memory_utilization=0.5)
    assert _options(half, 100, "cuda") == {"hf_overrides": {"head_dtype": "float32"}, "gpu_memory_utilization": 0.5}
    assert _options(Model(name="m", source={"path": "m"}), 100, "cuda") == {}
    assert _options(half, 100, "cpu")["enforce_eager"]

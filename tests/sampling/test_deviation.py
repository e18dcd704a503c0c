"""Two engines on the same replies: what is measured, and where the jobs stop."""

import json
import math
import shutil

import numpy as np
import polars as pl
import pytest
from test_prompt_scripts import run
from test_sampling import PROMPTS as TEXTS
from test_sampling import draw, law

from alignment_limits.errors import SamplingError
from alignment_limits.sampling.checks import BOUND, OUTSIDE, check_deviation, deviation
from alignment_limits.tables.artifacts import read_provenance, read_table, write_table
from alignment_limits.tables.schemas.samples import POLICY_KL, PROMPTS, READ_AGAIN, SAMPLES


def test_the_deviation_is_counted_per_root_token():
    found = deviation([-1.0, -5.0, -3.0], [-1.1, -5.0, -2.8], [1, 9, 16])
    assert found.replies == 3
    assert found.largest == pytest.approx(0.2)
    assert found.largest_per_root_token == pytest.approx(0.1), "of the first, not of the longest"
    assert found.mean == pytest.approx(-0.1 / 3)
    assert found.outside == 0


def test_replies_outside_the_readers_nucleus_are_counted_apart():
    found = deviation([-1.0, -5.0, -3.0, -2.0], [-1.0, -np.inf, -3.0, -2.1], [4, 4, 4, 4])
    assert found.outside == 0.25
    assert (found.largest, found.replies) == (pytest.approx(0.1), 4)


@pytest.mark.parametrize(("drawn", "read"), [(math.nan, -1.0), (-1.0, math.nan), (-math.inf, -1.0), (-1.0, -math.inf)])
def test_numbers_that_are_none_never_pass(drawn, read):
    with pytest.raises(SamplingError, match="base model tiny"):
        check_deviation(deviation([drawn], [read], [4]), "float32", "base model tiny")


@pytest.mark.parametrize("dtype", BOUND)
def test_the_bound_grows_with_the_root_of_the_tokens_and_with_the_precision(dtype):
    for tokens in (1, 100):
        edge = BOUND[dtype] * math.sqrt(tokens)
        check_deviation(deviation([-9.0], [-9.0 + 0.99 * edge], [tokens]), dtype, "x")
        with pytest.raises(SamplingError, match="set sampling.engine to the other engine"):
            check_deviation(deviation([-9.0], [-9.0 + 1.01 * edge], [tokens]), dtype, "x")


@pytest.mark.parametrize("dtype", OUTSIDE)
def test_few_replies_only_may_lie_outside_the_nucleus(dtype):
    drawn, read = np.full(1000, -3.0), np.full(1000, -3.0)
    allowed = round(1000 * OUTSIDE[dtype])
    read[:allowed] = -np.inf
    check_deviation(deviation(drawn, read, np.full(1000, 4)), dtype, "x")
    read[: allowed + 1] = -np.inf
    with pytest.raises(SamplingError, match="leaves out of its top-p nucleus"):
        check_deviation(deviation(drawn, read, np.full(1000, 4)), dtype, "x")


@pytest.fixture(scope="module")
def shard(tiny_model):
    return draw(tiny_model, temperature=0.8)[0]


def job_of(script, shard, folder, output, models, **more):
    """Run a script on one shard; its table's file."""
    write_table(shard, folder / "samples.parquet", SAMPLES, {})
    columns = {"prompt": pl.col("text"), "source": pl.lit("x"), "reference": pl.lit(None, pl.String)}
    write_table(TEXTS.with_columns(**columns), folder / "prompts.parquet", PROMPTS, {})
    files = models | {name: folder / f"{name}.parquet" for name in ("samples", "prompts")}
    p = {"model": "tiny", "template": "none", "temperature": 0.8, "top_p": 1.0, "dtype": "float32", "exchanged": False}
    laws = {key: {name: p[name] for name in ("temperature", "top_p")} for key in ("law", "base_law")}
    params = {"p": p | laws | {"trust_remote_code": False}, "code": {}}
    files = {name: str(file) for name, file in files.items()}
    files["base_prompts"] = files["prompts"]
    file = folder / f"{output}.parquet"
    run(script, folder, input=files, output={output: file}, params=params, **more)
    return file


def read_samples(shard, model, folder):
    return job_of("read_samples", shard, folder, "read", {"model": model})


def policy_kl(shard, model, folder):
    models = {"policy": model, "base": model}
    return job_of("policy_kl", shard, folder, "kl", models, wildcards={"policy": "mine"})


JOBS = {"base model tiny": (read_samples, READ_AGAIN, "logprob_read"), "policy mine": (policy_kl, POLICY_KL, "logprob")}


@pytest.mark.parametrize("whose", JOBS)
def test_a_job_records_how_far_the_engines_are_apart(shard, tiny_model, tmp_path, whose):
    job, schema, column = JOBS[whose]
    file = job(shard, tiny_model, tmp_path)
    keys = ["prompt_id", "sample_id"]
    table = read_table(file, schema).join(shard.select(*keys, "token_ids"), on=keys)
    texts = dict(TEXTS.select("prompt_id", "text").iter_rows())
    expected = [law(tiny_model, texts[r["prompt_id"]], r["token_ids"], 0.8, 1) for r in table.iter_rows(named=True)]
    np.testing.assert_allclose(table[column], expected, atol=2e-5)
    recorded = read_provenance(file)["run"]["deviation"]
    assert recorded["replies"] == table.height == shard.height
    assert 0 < recorded["largest"] < 2e-5


@pytest.mark.parametrize("whose", JOBS)
def test_a_job_stops_where_one_reply_is_beyond_the_bound(shard, tiny_model, tmp_path, capsys, whose):
    first = pl.int_range(pl.len()) == 0
    wrong = shard.with_columns(logprob=pl.col("logprob") + pl.when(first).then(0.05).otherwise(0.0))
    with pytest.raises(SystemExit):
        JOBS[whose][0](wrong, tiny_model, tmp_path)
    assert f"{whose}: the engine that drew the replies and a plain forward pass differ" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.glob("*.parquet")) == ["prompts.parquet", "samples.parquet"]


def test_a_setting_of_the_models_own_that_enters_sampling_is_noticed(tiny_model, tmp_path, monkeypatch, capsys):
    """The fault of a repetition penalty in generation_config.json, put back."""
    own = shutil.copytree(tiny_model, tmp_path / "own")
    (own / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "repetition_penalty": 1.3}))
    read_samples(draw(own, temperature=0.8)[0], own, tmp_path)
    from alignment_limits.models import load

    sound = load.load_causal

    def careless(*args, **options):
        model = sound(*args, **options)
        model.generation_config.repetition_penalty = 1.3
        return model

    monkeypatch.setattr(load, "load_causal", careless)
    with pytest.raises(SystemExit):
        read_samples(draw(own, temperature=0.8)[0], own, tmp_path)
    assert "base model tiny: the engine that drew the replies" in capsys.readouterr().err

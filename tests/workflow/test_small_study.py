"""The small study end to end, on real models: contracts kept, numbers recomputed from the shards."""

from functools import reduce
from math import comb, log
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from running import snakemake

from alignment_limits.rewards.load import load_reward
from alignment_limits.study.load import load_study
from alignment_limits.tables.artifacts import read_provenance, read_table
from alignment_limits.tables.estimates import BEST_OF_N, ENSEMBLES, FRONTIER, PROXY_GAP
from alignment_limits.tables.schemas.limits import HEADLINE
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES, SAMPLES_SUMMARY, SCALES, SCORES, STANDARDISED

pytestmark = pytest.mark.study
GOLD = "tox-block"
REWARDS = ["tox-block", "alt-profanity", "minilm-prototypes", "vader", "toxic-comment"]
SMALL = ("--configfile", "config/studies/small.yaml")
DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text("utf-8"))


def shards(folder: Path, schema) -> pl.DataFrame:
    return pl.concat([read_table(f, schema) for f in sorted(folder.glob("*.parquet"))])


def raw(small, reward) -> np.ndarray:
    """Scores as an array (prompts × samples), straight from the shards."""
    table = shards(small / "scores" / reward, SCORES).sort("prompt_id", "sample_id")
    return table["score"].to_numpy().reshape(8, 32)


def standard(small, reward) -> np.ndarray:
    """Standardised independently: centred per prompt, in units of the pooled within-prompt sd."""
    centred = raw(small, reward) - raw(small, reward).mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).sum() / (centred.size - len(centred)))


def test_every_table_keeps_its_contract(small):
    for path, schema in {
        "prompts.parquet": PROMPTS,
        "samples/summary.parquet": SAMPLES_SUMMARY,
        "ensembles/scales.parquet": SCALES,
        "ensembles/standardised.parquet": STANDARDISED,
        "limits/frontier.parquet": FRONTIER,
        "limits/best_of_n.parquet": BEST_OF_N,
        "limits/proxy_gap.parquet": PROXY_GAP,
        "limits/ensembles.parquet": ENSEMBLES,
        "report/headline.parquet": HEADLINE,
    }.items():
        assert read_table(small / path, schema).height, path
        made = read_provenance(small / path)
        assert made["study"] == "small"
        assert {"stage", "config", "config_digest", "code", "seed", "versions"} <= set(made)


def test_no_model_waits_for_a_compiler(small, compiled):
    assert not [*compiled.rglob("*.so")]


def test_every_prompt_has_every_sample_and_every_sample_every_score(small):
    samples = shards(small / "samples/smollm2-135m-instruct", SAMPLES)
    assert samples.group_by("prompt_id").agg(pl.col("sample_id").sort())["sample_id"].to_list() == [list(range(32))] * 8
    keys = samples.select("prompt_id", "sample_id").sort(pl.all())
    for reward in REWARDS:
        assert shards(small / "scores" / reward, SCORES).select("prompt_id", "sample_id").sort(pl.all()).equals(keys)


def test_logprobs_are_those_of_the_model_in_transformers(small):
    """The recorded log-probability of a reply against a plain float32 forward pass."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = next(p for p in (small.parent / "models").glob("smollm2-135m-instruct-*") if p.is_dir())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    prompts = dict(read_table(small / "prompts.parquet", PROMPTS).select("prompt_id", "text").iter_rows())
    rows = shards(small / "samples/smollm2-135m-instruct", SAMPLES).sample(6, seed=0)
    for row in rows.iter_rows(named=True):
        prompt = tokenizer(prompts[row["prompt_id"]])["input_ids"]
        ids = torch.tensor([prompt + row["token_ids"]])
        with torch.inference_mode():
            logprobs = torch.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1].double(), -1)
        expected = logprobs.gather(1, ids[0, len(prompt) :, None]).sum().item()
        assert row["logprob"] == pytest.approx(expected, abs=2e-3)


def test_scores_are_those_of_the_library_itself(small):
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    samples = shards(small / "samples/smollm2-135m-instruct", SAMPLES)
    joined = samples.join(shards(small / "scores/vader", SCORES), on=["prompt_id", "sample_id"])
    for row in joined.sample(40, seed=1).iter_rows(named=True):
        assert row["score"] == pytest.approx(analyzer.polarity_scores(row["text"])["compound"], abs=1e-12)


def test_the_gold_reward_gives_the_probabilities_its_package_prints(small):
    """README of tox-block 0.1.2, 'toxic', rescaled as its make_predictions does."""
    published = {
        "Good morning my friend, I hope you're having a fantastic day!": 0.05347811430692673,
        "I do strongly disagree with the fascist views of this joke that calls itself a political party.": (
            0.026190076023340225
        ),
    }
    folder = next((small.parent / "models/fetched").glob("tox-block-*"))
    spec = load_study(DEFAULT).rewards[GOLD].model_copy(update={"sign": 1})
    logit = load_reward(spec, folder).score([""] * 2, list(published)).score
    rescaled = (1 / (1 + np.exp(-logit)) - 0.002116) / (0.999858 - 0.002116)  # its RESCALE_PROBA['toxic']
    np.testing.assert_allclose(rescaled, list(published.values()), atol=1e-6)


@pytest.mark.parametrize("reward", REWARDS)
def test_rewards_are_standardised_as_stated(small, reward):
    table = read_table(small / "ensembles/standardised.parquet", STANDARDISED).sort("prompt_id", "sample_id")
    np.testing.assert_allclose(table[reward].to_numpy().reshape(8, 32), standard(small, reward), atol=1e-9)


def test_an_ensemble_is_the_mean_of_its_members_on_one_scale(small):
    mean = reduce(np.add, (standard(small, r) for r in ("alt-profanity", "minilm-prototypes", "vader"))) / 3
    mean -= mean.mean(1, keepdims=True)
    expected = mean / np.sqrt((mean**2).sum() / (mean.size - len(mean)))
    table = read_table(small / "ensembles/standardised.parquet", STANDARDISED).sort("prompt_id", "sample_id")
    np.testing.assert_allclose(table["mean"].to_numpy().reshape(8, 32), expected, atol=1e-9)


@pytest.mark.parametrize("optimized", [GOLD, "vader"])
def test_the_frontier_at_fixed_beta_is_the_tilt_of_the_samples(small, optimized):
    """Plug-in gain and KL recomputed sample by sample."""
    table = read_table(small / "limits/frontier.parquet", FRONTIER)
    rows = table.filter(
        (pl.col("optimized") == optimized) & (pl.col("evaluated") == GOLD) & (pl.col("budget") == "average")
    ).filter(pl.col("at") == "beta")
    assert rows.height == 4
    r, gold = standard(small, optimized), standard(small, GOLD)
    for row in rows.iter_rows(named=True):
        w = np.exp(r / row["beta"])
        w /= w.sum(1, keepdims=True)
        assert row["gain_plugin"] == pytest.approx((w * gold).sum(1).mean() - gold.mean(), abs=1e-9)
        assert row["kl_plugin"] == pytest.approx((w * np.log(w * 32)).sum(1).mean(), abs=1e-9)


def test_gain_is_beta_times_jeffreys_in_the_table(small):
    table = read_table(small / "limits/frontier.parquet", FRONTIER)
    own = table.filter((pl.col("optimized") == pl.col("evaluated")) & (pl.col("at") == "beta"))
    assert own.height
    np.testing.assert_allclose(own["gain"], own["beta"] * (own["kl"] + own["kl_reverse"]), atol=1e-9)


def test_the_proxy_gap_is_beta_times_the_kl_of_the_two_tilts(small):
    """Plug-in gap recomputed sample by sample: β·KL(π̂_β‖π_β) under the proxy's weights."""
    table = read_table(small / "limits/proxy_gap.parquet", PROXY_GAP).filter(pl.col("optimized") == "vader")
    assert table.height == 4
    proxy, gold = standard(small, "vader"), standard(small, GOLD)
    for row in table.iter_rows(named=True):
        w, ideal = (np.exp(r / row["beta"]) / np.exp(r / row["beta"]).sum(1, keepdims=True) for r in (proxy, gold))
        assert row["gap_plugin"] == pytest.approx(row["beta"] * (w * np.log(w / ideal)).sum(1).mean(), abs=1e-9)


@pytest.mark.parametrize("optimized", [GOLD, "vader"])
def test_best_of_n_is_the_mean_over_all_subsets(small, optimized):
    """Exact integer binomials; ties share their gold evenly."""
    table = read_table(small / "limits/best_of_n.parquet", BEST_OF_N)
    rows = table.filter(
        (pl.col("optimized") == optimized)
        & (pl.col("evaluated") == GOLD)
        & (pl.col("budget") == "average")
        & (pl.col("method") == "best-of-n")
    )
    assert rows["n"].sort().to_list() == [1, 2, 4, 8]
    r, gold = raw(small, optimized), standard(small, GOLD)
    for row in rows.iter_rows(named=True):
        n, gains = row["n"], []
        weight = np.array([comb(i - 1, n - 1) / comb(32, n) for i in range(1, 33)])
        for scores, values in zip(r, gold, strict=True):
            tied = {s: values[scores == s].mean() for s in set(scores)}
            ordered = np.array([tied[s] for s in np.sort(scores)])
            gains.append((weight * ordered).sum() - values.mean())
        assert row["gain"] == pytest.approx(np.mean(gains), abs=1e-9)
        assert row["kl_bound"] == pytest.approx(log(n) - (n - 1) / n, abs=1e-12)
        assert row["kl"] <= row["kl_bound"] + 1e-12


def test_a_study_this_small_is_not_called_reliable(small):
    table = read_table(small / "limits/frontier.parquet", FRONTIER)
    assert not table["reliable"].any()
    assert (table["reason"].str.len_chars() > 0).all()


def test_figures_are_drawn_and_pages_written(small):
    for figure in ("frontier", "gold_under_proxies", "reward_distributions"):
        assert (small / f"figures/{figure}.png").read_bytes()[:4] == b"\x89PNG"
        assert (small / f"figures/{figure}.pdf").read_bytes()[:4] == b"%PDF"
    assert "our choice" in (small / "report/study.html").read_text("utf-8").lower()


def test_generated_text_is_nowhere_in_the_report(small, tmp_path):
    report = tmp_path / "report.html"
    snakemake(*SMALL, "--report", report)
    pages = report.read_text("utf-8") + "".join(p.read_text("utf-8") for p in (small / "report").glob("*.html"))
    texts = shards(small / "samples/smollm2-135m-instruct", SAMPLES)["text"].str.strip_chars()
    long = [t for t in texts if len(t) > 15]
    assert long
    assert not [t for t in long if t in pages]
    assert not (small / "report/samples.html").exists()


def test_a_second_run_does_nothing(small):
    run = snakemake(*SMALL)
    assert "Nothing to be done" in run.stdout + run.stderr

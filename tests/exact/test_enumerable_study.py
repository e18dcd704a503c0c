"""The enumerable study through the ordinary pipeline: what it estimates against what is known."""

import json

import numpy as np
import polars as pl
import pytest
import yaml
from reduced import DEFAULT
from reported import check
from running import ROOT, snakemake

from alignment_limits.report.pages.learning import verdicts
from alignment_limits.study.load import over_default
from alignment_limits.tables.artifacts import read_table, read_tables
from alignment_limits.tables.estimates import FRONTIER
from alignment_limits.tables.schemas.limits import (
    EXACT_BEST_OF_N,
    EXACT_FRONTIER,
    EXACT_OF_POLICIES,
    EXACT_POLICIES,
    POLICIES,
)
from alignment_limits.tables.schemas.samples import POLICY_KL, SAMPLES

pytestmark = pytest.mark.study


@pytest.fixture(scope="session")
def study():
    """Folder of the finished study; its models are so small that two jobs with one core each are quickest."""
    alone = [f"{rule}=1" for rule in ("sample", "train_policy", "policy_sample", "policy_kl")]
    snakemake("--configfile", "config/studies/enumerable.yaml", "--set-threads", *alone, "--resources", "gpu=2")
    return ROOT / "results/enumerable"


@pytest.fixture(scope="session")
def policies(study):
    return read_table(study / "exact/policies.parquet", EXACT_OF_POLICIES)


@pytest.fixture(scope="session")
def logprobs(study):
    """log π of every reply under every policy, and the base's as `logprob`."""
    (file,) = {f for f in ROOT.glob("results/shared/four-words-*/enumerable/64/replies.parquet")}
    return read_table(file, SAMPLES).join(
        read_table(study / "exact/logprobs.parquet", EXACT_POLICIES), on=["prompt_id", "sample_id"]
    )


def shards(study, folder, schema):
    return read_tables(sorted((study / folder).glob("*.parquet")), schema)


def names(study):
    return read_table(study / "policies/policies.parquet", POLICIES)["policy"].unique().to_list()


def test_every_reply_is_listed_for_every_prompt(logprobs):
    assert logprobs.group_by("prompt_id").len()["len"].to_list() == [341] * 64
    totals = logprobs.group_by("prompt_id").agg(pl.col("^logprob|.*-s0$").exp().sum()).drop("prompt_id")
    np.testing.assert_allclose(totals.to_numpy(), 1, atol=1e-9)


def test_every_sampled_reply_has_its_exact_logprob(study, logprobs):
    for folder, column in [("samples/four-words", "logprob")] + [(f"policies/{p}/samples", p) for p in names(study)]:
        drawn = shards(study, folder, SAMPLES).select("prompt_id", "token_ids", engine="logprob")
        both = drawn.join(logprobs.select("prompt_id", "token_ids", exact=column), on=["prompt_id", "token_ids"])
        assert both.height == drawn.height == 16 * 256
        assert (both["engine"] - both["exact"]).abs().max() < 1e-5


def test_replies_are_drawn_from_their_law(study, logprobs):
    """Pearson's statistic over replies expected five times or more, in units of its standard deviation."""
    drawn = shards(study, "samples/four-words", SAMPLES)
    counts = drawn.group_by("prompt_id", "token_ids").len()
    own = logprobs.filter(pl.col("prompt_id").is_in(drawn["prompt_id"].unique().to_list()))
    both = own.select("prompt_id", "token_ids", expected=256 * pl.col("logprob").exp()).join(
        counts, on=["prompt_id", "token_ids"], how="left"
    )
    common = both.with_columns(pl.col("len").fill_null(0)).filter(pl.col("expected") >= 5)
    assert common.height > 100
    variance = common["expected"] * (1 - common["expected"] / 256)
    z2 = (common["len"] - common["expected"]) ** 2 / variance
    assert abs(z2.mean() - 1) < 4 * np.sqrt(2 / common.height)


@pytest.mark.parametrize("name", ["frontier", "best_of_n", "policies"])
def test_intervals_hold_the_exact_values(study, name):
    """Rows share samples, so misses come in clusters: nine in ten must hold the value they speak of; the value for the
    study's own prompts, which are no sample, may be missed less often."""
    contract = {"frontier": EXACT_FRONTIER, "best_of_n": EXACT_BEST_OF_N, "policies": EXACT_OF_POLICIES}[name]
    rows = read_table(study / f"exact/{name}.parquet", contract).filter("reliable", pl.col("holds_exact").is_not_null())
    assert rows.height > 30
    if name != "policies":  # trained on the study's prompts, they are other policies elsewhere
        assert rows["holds_population"].mean() >= 0.9
    assert rows["holds_exact"].mean() >= 0.95
    half = (rows["high"] - rows["low"]) / 2
    assert (half > 0).mean() > 0.8
    off = ((rows["estimate"] - rows["exact"]) / half).filter(half > 1e-6)
    assert off.abs().median() < 0.5, "on the study's own prompts only draws are left to err"


def test_the_frontiers_estimates_are_close(study):
    """Errors relative to the exact gain, not to an interval that is wide because prompts differ."""
    rows = read_table(study / "exact/frontier.parquet", EXACT_FRONTIER)
    gold = rows.filter(
        (pl.col("optimized") == "whole") & (pl.col("evaluated") == "whole") & (pl.col("at") == "kl")
        & (pl.col("quantity") == "gain") & (pl.col("kl") >= 0.1) & pl.col("reliable")
    )  # fmt: skip
    assert gold.height > 5
    assert ((gold["estimate"] - gold["exact"]) / gold["exact"]).abs().max() < 0.06


def test_every_reliable_pooled_interval_holds_the_exact_values(study):
    """Of the study's prompts, and of all prompts."""
    rows = read_table(study / "exact/frontier.parquet", EXACT_FRONTIER)
    pooled = rows.filter((pl.col("samples_from") == "pool") & (pl.col("quantity") == "gain") & pl.col("reliable"))
    assert pooled.height >= 32
    assert set(pooled["optimized"]) == {"whole", "mean"}
    assert pooled["kl"].max() == 2
    assert pooled["holds_exact"].all()
    assert pooled["holds_population"].all()
    assert ((pooled["estimate"] - pooled["exact"]) / pooled["exact"]).abs().max() < 0.03


def test_tempered_sampling_contains_and_is_near_the_exact_values(study):
    rows = read_table(study / "exact/tempered.parquet", EXACT_FRONTIER).filter(pl.col("quantity") == "gain")
    limits = rows.filter((pl.col("at") == "kl") & pl.col("reliable"))
    assert limits.height >= 6
    assert limits["kl"].max() == 1.5
    assert limits["holds_exact"].all()
    assert limits["holds_population"].all()
    assert ((limits["estimate"] - limits["exact"]) / limits["exact"]).abs().max() < 0.06
    levels = rows.filter((pl.col("at") == "level") & pl.col("reliable"))
    assert levels.height >= 3
    assert levels["holds_exact"].mean() >= 0.9


def test_both_kl_estimators_are_the_exact_kls(study, policies):
    """Within four standard errors over draws, prompt by prompt; the exact next-token KL errs less."""
    for policy in names(study):
        kl = shards(study, f"policies/{policy}/kl", POLICY_KL)
        exact = policies.filter((pl.col("policy") == policy) & (pl.col("quantity") == "kl"))["exact"][0]
        errors = {}
        for column in ("kl", "log_ratio"):
            each = kl.group_by("prompt_id").agg(pl.col(column).mean().alias("m"), pl.col(column).var().alias("v"))
            errors[column] = np.sqrt((each["v"] / 256).sum()) / each.height
            assert each["m"].mean() == pytest.approx(exact, abs=4 * errors[column])
        assert errors["kl"] < errors["log_ratio"]


def test_no_policy_gains_more_than_the_exact_limit(policies):
    """Whatever it was trained on, and by whatever reward it is judged."""
    rows = verdicts(policies)
    assert rows.height == 6 * 4
    assert rows["below"].all()
    assert (rows["gain"] <= rows["limit"] + 1e-9).all()
    assert (rows["optimality_gap"] >= -1e-9).all()
    trained = rows.filter(pl.col("regret").is_not_null())
    assert trained.height == 6
    assert (trained["regret"] > 0).all()
    assert (trained["gain"] > 0.3).all(), "each was trained to some effect"


def test_training_by_the_exact_gradient_reaches_the_tilt(policies):
    row = verdicts(policies).filter((pl.col("policy") == "exact-whole-0.5-s0") & (pl.col("evaluated") == "whole"))
    assert 0 <= row["regret"][0] < 1e-3 + 1e-6
    assert row["gain"][0] == pytest.approx(row["limit"][0], rel=2e-3)
    others = verdicts(policies).filter(pl.col("policy") != "exact-whole-0.5-s0")["regret"].drop_nulls()
    assert others.min() > 0.01


def test_best_of_one_is_the_base(study):
    rows = read_table(study / "exact/best_of_n.parquet", EXACT_BEST_OF_N).filter(
        (pl.col("method") == "best-of-n") & (pl.col("n") == 1)
    )
    for quantity, value in (("kl", 0), ("gain", 0), ("win_rate", 0.5)):
        some = rows.filter(pl.col("quantity") == quantity)
        np.testing.assert_allclose(some["exact"], value, atol=1e-12)
        np.testing.assert_allclose(some["estimate"], value, atol=1e-9)


def test_exact_rows_name_the_rows_of_the_estimates(study):
    exact = read_table(study / "exact/frontier.parquet", EXACT_FRONTIER).filter(pl.col("quantity") == "gain")
    estimates = read_table(study / "limits/frontier.parquet", FRONTIER)
    assert exact.height == estimates.height
    keys = ["optimized", "evaluated", "samples_from", "at", "budget", "beta", "kl"]
    both = exact.join(estimates, on=keys, how="inner", nulls_equal=True)
    known = both.filter(pl.col("gain").is_finite())
    assert known.height > 100
    assert (known["gain"] == known["estimate"]).all()


def test_the_report_shows_all_that_was_made(study, tmp_path):
    file = "config/studies/enumerable.yaml"
    snakemake("--configfile", file, "--report", tmp_path / "report.html")
    settings = over_default(DEFAULT, yaml.safe_load((ROOT / file).read_text("utf-8")))
    check(ROOT, study.name, tmp_path / "report.html", settings)


def test_the_report_says_how_estimates_and_exact_values_agree(study):
    page = (study / "report/exact.html").read_text("utf-8")
    for said in ("How many intervals contain the exact value", "exact-whole-0.5-s0", "below the limit", ">yes<"):
        assert said in page
    assert ">no<" not in page
    assert (study / "figures/exact.png").read_bytes()[:4] == b"\x89PNG"
    checked = json.loads((study / "manifest.json").read_text())
    assert any("exact/frontier.parquet" in json.dumps(entry) for entry in (checked, *checked))

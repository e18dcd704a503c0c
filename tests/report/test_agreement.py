"""Within-prompt Spearman correlation against SciPy, ties and constants included."""

import numpy as np
import polars as pl
import pytest
import synthetic
from scipy.stats import spearmanr

from alignment_limits.errors import ArtifactError
from alignment_limits.report.agreement import within_prompt_spearman

SCORES = synthetic.standardised(prompts=12)


def test_mean_of_scipys_correlations():
    found = within_prompt_spearman(SCORES, "gold", ["minilm", "vader"])
    for name, value in found.select("reward", "spearman").iter_rows():
        each = [spearmanr(p["gold"], p[name]).statistic for _, p in SCORES.group_by("prompt_id")]
        assert value == pytest.approx(np.mean(each))


def test_prompt_offsets_change_nothing():
    offset = pl.col("prompt_id").rank("dense") * 100.0
    shifted = SCORES.with_columns(pl.col("gold") + offset, pl.col("minilm") - offset)
    a, b = (within_prompt_spearman(t, "gold", ["minilm"])["spearman"][0] for t in (SCORES, shifted))
    assert a == pytest.approx(b)


def test_constant_prompts_are_left_out():
    flat = pl.when(pl.col("prompt_id") == "p000").then(0.0).otherwise(pl.col("minilm")).alias("minilm")
    row = within_prompt_spearman(SCORES.with_columns(flat), "gold", ["minilm"]).row(0, named=True)
    rest = within_prompt_spearman(SCORES.filter(pl.col("prompt_id") != "p000"), "gold", ["minilm"])
    assert row["prompts"] == 11
    assert row["spearman"] == pytest.approx(rest["spearman"][0])


def test_a_constant_reward_has_none():
    row = within_prompt_spearman(SCORES.with_columns(minilm=pl.lit(1.0)), "gold", ["minilm"]).row(0, named=True)
    assert row["prompts"] == 0
    assert np.isnan(row["spearman"])
    assert np.isnan(row["low"])


def test_interval_holds_the_estimate_and_repeats():
    a, b = (within_prompt_spearman(SCORES, "gold", ["vader"], seed=3) for _ in range(2))
    assert a.equals(b)
    assert a["low"][0] < a["spearman"][0] < a["high"][0]


def test_no_names_is_an_empty_table():
    assert within_prompt_spearman(SCORES, "gold", []).height == 0


def test_a_missing_column_is_named():
    with pytest.raises(ArtifactError, match="nobody"):
        within_prompt_spearman(SCORES, "gold", ["nobody"])

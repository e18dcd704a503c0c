"""A study that starts at preferences in worlds of known target: every rule of it, in seconds."""

import polars as pl
import pytest
import yaml
from running import ROOT, snakemake

from alignment_limits.commands.studies import read_plan
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import GAMMA, RATES, SLOPES

STUDY = {
    "study": "test-learning",
    "learning": {
        "world": {"contexts": 3, "responses": 3, "target_dimension": 2, "target_sd": 0.5, "base_sd": 0.5},
        "n": [64, 512, 4096, 32768, 262144],
        "slope_from": 512,
        "seeds": 18,
        "objectives": ["pmle", "distillation", "reverse-kl", "rlhf", "dpo"],
        "betas": [0.01, 0.1, 1, 10],
        "fixed_betas": [0.1, 1],
        "folds": 2,
        "settings": {"as-modelled": [0], "reward-dimension": [2, 6]},
        "estimate_gamma": [2],
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny study's file and results."""
    file = tmp_path_factory.mktemp("learning") / "tiny.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    snakemake("--configfile", file, "--forceall")
    return file, ROOT / "results/test-learning"


def test_tables_figures_and_pages_are_made(finished):
    _, results = finished
    rates = read_table(results / "learning/rates.parquet", RATES)
    assert rates.select("setting", "level").unique().height == 3
    assert set(rates["seed"]) == set(range(18)), "jobs of sixteen seeds are put together"
    assert (
        rates.filter(pl.col("tuning") == "oracle")
        .select("objective", "setting", "level", "n", "seed")
        .is_unique()
        .all()
    )
    slopes = read_table(results / "learning/slopes.parquet", SLOPES)
    free = slopes.filter(
        (pl.col("tuning") == "none") & (pl.col("quantity") == "slope") & (pl.col("setting") == "as-modelled")
    )
    pmle = free.filter(pl.col("objective") == "pmle")["value"][0]
    assert pmle == pytest.approx(-1, abs=0.15)
    assert read_table(results / "learning/gamma.parquet", GAMMA)["identified"].all()
    for figure in ("learning_rates", "learning_floors", "learning_settings", "gamma"):
        assert (results / f"figures/{figure}.pdf").stat().st_size > 5000
    page = (results / "report/learning.html").read_text("utf-8")
    for claim in (
        "one estimator in a tabular class",
        "falls as 1/n",
        "RLHF levels off",
        "where rewards are a smaller class",
    ):
        assert claim in page
    assert "no language model, no prompt and no sampled text" in (results / "report/study.html").read_text("utf-8")


def test_a_choice_among_what_was_learned_learns_nothing_again(finished, tmp_path):
    file, _ = finished
    other = yaml.safe_load(file.read_text())
    other["learning"]["fixed_betas"] = [1]
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    run = snakemake("--configfile", tmp_path / "other.yaml", "--dry-run")
    plan = read_plan(run.stdout + run.stderr)
    drawn = {"figure_learning_rates", "figure_learning_floors", "figure_learning_settings"}
    assert set(plan.jobs) == {"rates", "learning_page", "study_card", "manifest"} | drawn

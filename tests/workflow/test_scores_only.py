"""A study that starts at a table of scores: the same tables and figures. test_every_study.py: no model library."""

import polars as pl
import pytest
import yaml
from running import ROOT, snakemake

from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.estimates import FRONTIER, PLAN
from alignment_limits.tables.schemas.samples import STANDARDISED


@pytest.fixture
def own_study(tmp_path):
    """The shipped table, shuffled and as CSV, in a folder of the user's own."""
    table = pl.read_parquet(ROOT / "resources/safety_scores.parquet")
    table.sample(fraction=1, shuffle=True, seed=0).write_csv(tmp_path / "mine.csv")
    study = {
        "study": "test-scores-only",
        "scores": {"table": str(tmp_path / "mine.csv"), "gold": "tox-block", "proxies": ["vader"]},
        "limits": {"bootstrap": 200, "kls": [0.1, 0.25, 0.5, 0.75, 1.0]},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    return tmp_path


def test_a_users_table_gives_frontier_figures_and_pages(own_study):
    snakemake("--configfile", own_study / "mine.yaml", "--forceall")
    results = ROOT / "results/test-scores-only"
    standardised = read_table(results / "ensembles/standardised.parquet", STANDARDISED)
    raw = pl.read_parquet(ROOT / "resources/safety_scores.parquet")
    one = standardised.filter(pl.col("prompt_id") == raw["prompt_id"][0]).sort("sample_id")["vader"]
    own = raw.filter(pl.col("prompt_id") == raw["prompt_id"][0]).sort("sample_id")["vader"]
    assert ((one - one[0]) / (own - own[0])).drop_nans().std() < 1e-9, "standardising is affine within a prompt"
    frontier = read_table(results / "limits/frontier.parquet", FRONTIER)
    assert frontier.filter("reliable").height > 10
    assert (results / "figures/frontier.pdf").stat().st_size > 5000
    assert "mine.csv" in (results / "report/study.html").read_text("utf-8")


def test_a_plan_for_a_narrower_study_is_made_from_this_one(own_study):
    snakemake("plan", "--configfile", own_study / "mine.yaml")
    plan = read_table(ROOT / "results/test-scores-only/limits/plan.parquet", PLAN).sort("kl")
    seen = plan.filter(pl.col("prompts").is_finite())
    assert seen.height >= 4
    assert (seen["samples"] >= 4 * seen["kl"].exp()).all(), "quarters of the samples reach each KL"
    assert (seen["replies"] == seen["prompts"] * seen["samples"]).all()
    assert (plan.filter(~pl.col("prompts").is_finite())["reason"].str.len_chars() > 0).all()


def test_a_bad_table_stops_the_run_with_one_message(own_study):
    text = (own_study / "mine.csv").read_text().splitlines()
    text[3] = ",".join([*text[3].split(",")[:2], "n/a", *text[3].split(",")[3:]])
    (own_study / "mine.csv").write_text("\n".join(text))
    run = snakemake("--configfile", own_study / "mine.yaml", check=False)
    assert run.returncode
    assert "'tox-block' is not a number ('n/a'), in row 3" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr

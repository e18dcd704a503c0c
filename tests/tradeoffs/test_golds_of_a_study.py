"""Several golds and other divergences in a study: settings, tables, figures, sentences of the report."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ConfigError
from alignment_limits.report.figures.divergences import divergences
from alignment_limits.report.figures.golds import compromises, pareto_front
from alignment_limits.report.figures.style import Look
from alignment_limits.report.tradeoffs import answers
from alignment_limits.study.load import load_study
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import ESTIMATORS, estimate, inputs_of, made_for, settings_of
from alignment_limits.tables.standardised import standardised_tables
from alignment_limits.tradeoffs import constrained_limit, divergence_limit, worst_case_limit
from alignment_limits.tradeoffs import pareto_front as front

PROMPTS, SAMPLES = 32, 32
GOLDS = {
    "of": ["human", "safe"],
    "kls": [0.2, 0.5],
    "best_of": [4, 64],
    "constraint": {"reward": "harm", "at_most": [0.0, -0.1], "units": "own"},
}
DIVERGENCES = {"kinds": ["chi2", "renyi-inf", "total-variation"], "best_of": [2, 4]}


def study(**tradeoffs):
    scores = {"table": "t.parquet", "gold": "human", "proxies": ["safe", "harm"], "bounds": {"harm": [0, 1]}}
    return load_study(
        {"study": "mine", "scores": scores, "limits": {"bootstrap": 200}, "tradeoffs": tradeoffs}, "m.yaml"
    )


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    row, sample = (each.ravel() for each in np.indices((PROMPTS, SAMPLES)))
    a, b = rng.normal(size=(2, PROMPTS * SAMPLES))
    keys = pl.DataFrame({"prompt_id": [f"p{i:02}" for i in row], "sample_id": sample.astype(np.int32)})
    scores = {"human": a, "safe": b - 0.5 * a, "harm": (a - b > 0.5).astype(float)}
    standardised, scales = standardised_tables(
        {name: keys.with_columns(score=pl.Series(values)) for name, values in scores.items()}
    )
    own = study(golds=GOLDS, divergences=DIVERGENCES | {"of": ["human", "harm"]})
    return {
        name: estimate(name, standardised, settings_of(name, own), scales=scales)
        for name in ("golds", "compromises", "divergences")
    }


def test_a_study_has_the_tables_that_it_asks_for():
    mine = {"golds", "compromises", "divergences"}
    assert not mine & set(made_for(study()))
    assert mine & set(made_for(study(golds={"of": ["human", "safe"], "worst": False}))) == {"golds"}
    assert mine & set(made_for(study(golds={"constraint": {"reward": "harm"}}))) == {"compromises"}
    assert mine & set(made_for(study(divergences={}))) == {"divergences"}
    assert inputs_of("compromises", study(golds=GOLDS)) == {"scales": "ensembles/scales.parquet"}
    assert settings_of("compromises", study(golds={"constraint": {"reward": "harm"}}))["optimized"] == ["human", "harm"]


@pytest.mark.parametrize(
    ("tradeoffs", "said"),
    [
        ({"golds": {}}, "give `of`"),
        ({"golds": {"of": ["human"]}}, "golds.of"),
        ({"golds": {"of": ["human", "human"]}}, "names a reward twice"),
        ({"golds": {"of": ["human", "weighted sum"]}}, "'weighted sum' is what the tables call a combination"),
        ({"golds": {"of": ["human", "sage"]}}, "tradeoffs.golds.of names the reward 'sage'"),
        ({"golds": {"constraint": {"reward": "harms"}}}, "tradeoffs.golds.constraint.reward names the reward 'harms'"),
        ({"golds": {"constraint": {"reward": "harm", "optimized": "harm"}}}, "cannot be optimised and constrained"),
        ({"divergences": {"kinds": ["renyi-0"]}}, "divergences.kinds"),
        ({"divergences": {"kinds": ["chi2", "chi2"]}}, "values are repeated"),
        ({"divergences": {"of": ["rm"]}}, "tradeoffs.divergences.of names the reward 'rm'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tradeoffs, said):
    with pytest.raises(ConfigError, match=said):
        study(**tradeoffs)


@pytest.mark.parametrize(
    "kind", ["renyi-2", "renyi-0.5", "renyi-.5", "renyi-10", "renyi-1.05", "renyi-inf", "reverse-kl"]
)
def test_orders_are_numbers_above_0(kind):
    assert study(divergences={"kinds": [kind]}).tradeoffs.divergences.kinds == [kind]


def test_the_front_has_both_budgets_and_no_more_draws_than_samples(tables):
    table = tables["golds"]
    assert set(table["budget"]) == {"average", "per-prompt", "any"}
    assert set(table["n"].drop_nulls().drop_nans()) == {4.0}
    assert table.filter(pl.col("budget") == "average").height == 11 * 3 * 2


def test_a_bound_in_the_rewards_own_units_is_a_share_of_its_spread(tables):
    table = tables["compromises"].filter(pl.col("kind") == "constraint")
    assert set(table["optimized"]) == {"human"}
    harm = table.filter(pl.col("evaluated") == "harm")
    assert sorted(set(harm["at_most"]))[-1] == 0.0
    sd = 0.1 / -min(harm["at_most"])
    assert 0.4 < sd < 0.5, "within-prompt spread of a share of about a third"
    gains = table.filter((pl.col("evaluated") == "human") & (pl.col("budget") == "average")).sort("kl", "at_most")[
        "gain"
    ]
    assert gains[0] < gains[1]
    assert gains[2] < gains[3]


def test_divergences_use_bounds_and_leave_out_what_has_none(tables):
    table = tables["divergences"]
    assert set(table["optimized"]) == {"human", "harm"}
    moved = table.filter((pl.col("divergence") == "total-variation") & (pl.col("n") == 2))
    assert moved.filter(pl.col("optimized") == "harm")["reliable"].all()
    assert not moved.filter(pl.col("optimized") == "human")["reliable"].any()
    assert set(table.filter(pl.col("divergence") == "renyi-inf")["budget"]) == {"per-prompt"}
    assert table.filter(pl.col("optimized") == "harm")["best_of_n"].is_nan().all()


def test_tables_keep_their_contracts(tables, tmp_path):
    for name, table in tables.items():
        write_table(table, tmp_path / f"{name}.parquet", ESTIMATORS[name].contract, {})
        assert read_table(tmp_path / f"{name}.parquet", ESTIMATORS[name].contract).height == table.height > 0


def test_figures_have_a_line_for_each_question(tables):
    look = Look(gold="human", names=("safe", "harm"))
    gids = [line.get_gid() for ax in pareto_front(tables["golds"], look).axes for line in ax.lines]
    assert {"front:0.2", "front:0.5", "best-of-4"} <= set(gids)
    gids = [line.get_gid() for ax in compromises(tables["compromises"], look).axes for line in ax.lines]
    assert {"alone", "at-most:0", "worst", "human", "safe"} <= set(gids)
    figure = divergences(tables["divergences"], look)
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["χ²", "log of the largest ratio", "total variation"]


def test_results_draw_themselves():
    a, b = np.random.default_rng(1).normal(size=(2, 20, 32))
    few = {"replicates": 200}
    for result in (
        front({"a": a, "b": b}, [0.2], weights=[[1, 0], [1, 1], [0, 1]], **few),
        constrained_limit({"a": a}, {"b": b}, {"b": 0.0}, [0.2, 0.4], **few),
        worst_case_limit({"a": a, "b": b}, [0.2, 0.4], **few),
        divergence_limit(a, "chi2", ns=[2, 4], **few),
    ):
        assert any(line.get_xdata().size for ax in result.plot().axes for line in ax.lines)


def test_the_report_answers_in_sentences(tables):
    said = dict(answers(tables, "human"))
    assert said["What can several golds gain at once?"].startswith(
        "With about equal weights, the tilt gains at 0.5 nats: "
    )
    assert "standard deviations of human (" in said["What can several golds gain at once?"]
    left = said["What does a compromise leave?"]
    assert left.startswith("If harm may change by at most 0 standard deviations of harm, a policy can gain ")
    assert "One policy can gain " in left
    assert "standard deviations in each of human, safe at 0.5 nats" in left
    close = said["How close is best-of-n in other divergences than KL?"]
    assert close.startswith("Best-of-4 gains ")
    assert " in χ², " in close
    assert close.endswith("in the largest ratio.")
    none = {
        name: table.with_columns(reliable=pl.lit(False), reason=pl.lit("too few")) for name, table in tables.items()
    }
    assert all("Reason: too few." in text for text in dict(answers(none, "human")).values())

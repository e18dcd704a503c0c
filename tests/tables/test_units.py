"""Tables and figures in the rewards' own units: the numbers of rewards that were never put on one scale."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from alignment_limits.report.claims.limits import findings
from alignment_limits.report.figures.units import in_raw_units as draw_in_raw_units
from alignment_limits.report.headline import BASE_SD
from alignment_limits.study.load import load_study
from alignment_limits.tables.estimates import ESTIMATORS, estimate, inputs_of, settings_of
from alignment_limits.tables.standardised import scales_of, standardised_tables
from alignment_limits.tables.units import COLUMNS, in_raw_units, raw_tables

EIGHT = 8.0  # a power of two: products are exact
NAMES = ["human", "rm", "other"]
GOLDS = {"of": ["human", "rm"], "kls": [0.2], "best_of": [4], "constraint": {"reward": "other", "at_most": [0.1]}}


@pytest.fixture(scope="module")
def study() -> Any:
    scores = {"table": "t.csv", "gold": "human", "proxies": ["rm", "other"]}
    limits = {"bootstrap": 200, "kls": [0.2, 0.5], "betas": [2], "best_of": [1, 2, 4], "ensemble_betas": [2]}
    more = {"golds": GOLDS, "divergences": {"best_of": [2]}, "length_control": {"kls": [0.2]}}
    scores |= {"pool": {"column": "model", "base": "base", "closed": ["gpt"]}}
    return load_study({"study": "mine", "scores": scores, "limits": limits, "units": "raw", "tradeoffs": more})


@pytest.fixture(scope="module")
def standardised() -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(2)
    gold = rng.normal(size=(24, 48))
    row, sample = np.indices(gold.shape)
    key = {"prompt_id": [f"p{i:03}" for i in row.ravel()], "sample_id": sample.ravel()}
    raw = {"human": 3 * gold, "rm": gold + rng.normal(size=gold.shape), "other": rng.normal(size=gold.shape)}
    return standardised_tables({name: pl.DataFrame(key | {"score": values.ravel()}) for name, values in raw.items()})


BY_PATH = {entry.path: name for name, entry in ESTIMATORS.items()}


def further(name: str, study: Any, table: pl.DataFrame, unit: float = 1.0) -> dict[str, pl.DataFrame]:
    """Tables that estimators of trade-offs also read; `unit`: how much larger the scores of the base are."""
    keys = table.select("prompt_id", "sample_id")
    columns = keys.with_columns(tokens=(50 + 5 * table["rm"] / table["rm"].std()).round())
    ids = keys["prompt_id"].unique().sort()
    scales = pl.concat([pl.DataFrame({"prompt_id": ids, "reward": name}) for name in NAMES])
    scales = scales.with_columns(centre=pl.lit(1.0), scale=pl.lit(1.0 / unit))
    replies = table.filter(pl.col("sample_id") < 2).with_columns(pl.col(NAMES) * (1.2 / unit) + 1.0, law=pl.lit("gpt"))
    have = {"columns": columns, "scales": scales, "closed": replies}
    return {kind: have[kind] for kind in inputs_of(name, study)}


@pytest.mark.parametrize("file", [file for file in COLUMNS if file in BY_PATH])
def test_a_table_in_own_units_is_that_of_scores_in_own_units(file, study, standardised):
    """Every column of every table: scores eight times as large give exactly the converted table."""
    name = BY_PATH[file]
    p = settings_of(name, study)
    larger = p | {key: [EIGHT * x for x in p[key]] for key in p if "betas" in key or "temperatures" in key}
    larger |= {"constraint": p["constraint"] | {"at_most": [EIGHT * 0.1]}} if "constraint" in p else {}
    table = standardised[0]
    times = table.with_columns(pl.col(NAMES) * EIGHT)
    more, same = further(name, study, table), further(name, study, times, EIGHT)
    if "closed" in more:  # on the larger scale the replies have the same scores
        same["closed"] = more["closed"]
    made = in_raw_units(file, estimate(name, table, p, **more), dict.fromkeys(NAMES, EIGHT), "human")
    expected = estimate(name, times, larger, **same)
    if "aggregator" in expected.columns:  # penalties and temperatures of the others are in units of the reward
        plain = pl.col("aggregator").is_in(["mean", "median", "minimum"])
        made, expected = made.filter(plain), expected.filter(plain)
    own = made["reward_unit"] != "base s.d."  # weighted sums and the worst of several golds have no own units
    made, expected = made.filter(own), expected.filter(own)
    assert_frame_equal(made.drop("reward_unit"), expected, check_exact=False, rel_tol=1e-9)


@pytest.mark.parametrize("name", ["side_effects", "cost", "length_control", "compromises", "divergences"])
def test_each_number_has_the_unit_of_its_own_reward(name, study, standardised):
    """One reward eight times as large: only what is about this reward changes."""
    table, eight = standardised[0], {"human": 1.0, "rm": EIGHT, "other": EIGHT}
    p = settings_of(name, study) | {"optimized": ["human", "rm", "other"], "worst_of": []}
    larger = p | ({"constraint": p["constraint"] | {"at_most": [EIGHT * 0.1]}} if name == "compromises" else {})
    more = further(name, study, table)
    made = in_raw_units(ESTIMATORS[name].path, estimate(name, table, p, **more), eight, "human")
    expected = estimate(name, table.with_columns(pl.col("rm", "other") * EIGHT), larger, **more)
    assert_frame_equal(made.drop("reward_unit"), expected, check_exact=False, rel_tol=1e-9)
    assert set(made["reward_unit"]) <= {*NAMES, "tokens"}


def test_pass_rates_and_marks_are_in_points():
    """A 0/1 reward and marks from 1 to 10, in tables: gains are points, to 1e-9."""
    scores = {"table": "t.csv", "gold": "correct", "proxies": ["mark"]}
    limits = {"bootstrap": 200, "kls": [0.3], "best_of": [2]}
    own = load_study({"study": "mine", "scores": scores, "limits": limits, "units": "raw"})
    rng = np.random.default_rng(3)
    row, sample = np.indices((20, 32))
    key = {"prompt_id": [f"p{i:03}" for i in row.ravel()], "sample_id": sample.ravel()}
    mark = rng.integers(1, 11, size=row.shape)
    raw = {"correct": (mark + rng.normal(size=row.shape) > 6) * 1.0, "mark": mark * 1.0}
    table, scales = standardised_tables({name: pl.DataFrame(key | {"score": v.ravel()}) for name, v in raw.items()})
    sds = scales_of(scales)
    columns = pl.DataFrame(key)
    cost = estimate("cost", table, settings_of("cost", own), columns=columns)
    made = in_raw_units("tradeoffs/cost.parquet", cost, sds, "correct")
    pairs = raw["correct"].sum(axis=1)
    two = 1 - (32 - pairs) * (31 - pairs) / (32 * 31)  # both of two draws fail
    points = 100 * (two - raw["correct"].mean(axis=1)).mean()
    row_of_two = made.filter((pl.col("method") == "best-of-n") & (pl.col("n") == 2))
    assert 100 * row_of_two["gain"][0] == pytest.approx(points, rel=1e-9)
    effects = estimate("side_effects", table, settings_of("side_effects", own), columns=columns)
    marks = in_raw_units("tradeoffs/side_effects.parquet", effects, sds, "correct")
    ratio = (marks["change"] / effects["change"]).to_numpy()
    of_mark = (effects["column"] == "mark").to_numpy()
    assert np.allclose(ratio[of_mark], sds["mark"], rtol=1e-9)
    assert np.allclose(ratio[~of_mark], sds["correct"], rtol=1e-9)
    assert set(marks["reward_unit"]) == {"mark", "correct"}


def test_every_reward_has_its_own_unit_and_an_ensemble_none(study, standardised):
    rows = {"optimized": ["rm", "human", "mean"], "evaluated": ["human", "human", "mean"], "gain": [1.0, 1, 1]}
    made = in_raw_units("limits/frontier.parquet", pl.DataFrame(rows), {"human": 3.0, "rm": 2.0}, "human")
    assert made.select("gain", "reward_unit").rows() == [(3.0, "human"), (3.0, "human"), (1.0, "base s.d.")]
    assert raw_tables(study) == [file for file in COLUMNS if file in BY_PATH]
    assert scales_of(standardised[1])["human"] == pytest.approx(3, rel=0.05)


def test_numbers_and_answers_of_the_report_are_converted_and_verdicts_are_not(study, standardised):
    table, scales = standardised
    names = ("frontier", "best_of_n", "over_optimisation")
    tables = {name: estimate(name, table, settings_of(name, study)) for name in names}
    tables |= {"scales": scales, "standardised": table}
    settings: dict[str, Any] = {"gold": "human", "proxies": ["rm", "other"], "members": {}}
    plain, raw = findings(tables, None, **settings), findings(tables, None, **settings, raw=True)
    scale = scales_of(scales)["human"]
    of_gold = plain.numbers["unit"] == BASE_SD
    assert (raw.numbers["unit"] == "units of gold").to_list() == of_gold.to_list()
    ratio = (raw.numbers["value"] / plain.numbers["value"]).drop_nans()
    assert set(ratio.round(9).unique()) == {1.0, round(scale, 9)}
    assert raw.verdicts == plain.verdicts
    assert "units of gold." in raw.answers[0][1]
    assert "standard deviations" not in raw.answers[0][1]


@plt.style.context("default")  # how many ticks there are depends on the style
def test_a_figure_in_own_units_is_the_same_picture_with_other_ticks():
    figure, (top, bottom) = plt.subplots(2)
    top.plot([0, 1, 2], [0, 1.0, 1.4])
    top.set_ylabel("gain in gold\n(base-model s.d.)")
    top.legend([top.lines[0]], [r"$\sqrt{2\,\mathrm{KL}}$"])
    bottom.plot([0, 1], [0, 1], label="β = 0.5")
    bottom.legend()
    bottom.set_ylabel("cost\nat β = 2 (base-model s.d.)")
    limits = top.get_ylim()
    draw_in_raw_units(figure, {"human": 100.0, "gain": 7.0}, "human")
    figure.canvas.draw()
    assert top.get_ylabel() == "gain in gold\n(units of gold)"
    assert bottom.get_ylabel() == "cost\nat β = 200 (units of human)"
    assert bottom.get_legend().get_texts()[0].get_text() == "β = 50"
    assert top.get_ylim() == limits
    shown = [float(text.get_text()) for text in top.get_yticklabels()]
    assert shown == pytest.approx([100 * y for y in top.get_yticks()])
    assert shown[1:3] == [0, 50]
    assert top.get_legend().get_texts()[0].get_text().startswith(r"$\sigma\sqrt")
    plt.close(figure)

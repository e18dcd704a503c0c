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
from alignment_limits.tables.estimates import ESTIMATORS, estimate, settings_of
from alignment_limits.tables.standardised import scales_of, standardised_tables
from alignment_limits.tables.units import COLUMNS, in_raw_units, raw_tables

EIGHT = 8.0  # a power of two: products are exact
NAMES = ["human", "rm", "other"]


@pytest.fixture(scope="module")
def study() -> Any:
    scores = {"table": "t.csv", "gold": "human", "proxies": ["rm", "other"]}
    limits = {"bootstrap": 200, "kls": [0.2, 0.5], "betas": [2], "best_of": [1, 2, 4], "ensemble_betas": [2]}
    return load_study({"study": "mine", "scores": scores, "limits": limits, "units": "raw"})


@pytest.fixture(scope="module")
def standardised() -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(2)
    gold = rng.normal(size=(24, 48))
    row, sample = np.indices(gold.shape)
    key = {"prompt_id": [f"p{i:03}" for i in row.ravel()], "sample_id": sample.ravel()}
    raw = {"human": 3 * gold, "rm": gold + rng.normal(size=gold.shape), "other": rng.normal(size=gold.shape)}
    return standardised_tables({name: pl.DataFrame(key | {"score": values.ravel()}) for name, values in raw.items()})


BY_PATH = {entry.path: name for name, entry in ESTIMATORS.items()}


@pytest.mark.parametrize("file", [file for file in COLUMNS if file in BY_PATH])
def test_a_table_in_own_units_is_that_of_scores_in_own_units(file, study, standardised):
    """Every column of every table: scores eight times as large give exactly the converted table."""
    name = BY_PATH[file]
    p = settings_of(name, study)
    larger = p | {key: [EIGHT * x for x in p[key]] for key in p if "betas" in key or "temperatures" in key}
    table = standardised[0]
    made = in_raw_units(file, estimate(name, table, p), dict.fromkeys(NAMES, EIGHT), "human")
    expected = estimate(name, table.with_columns(pl.col(NAMES) * EIGHT), larger)
    if "aggregator" in expected.columns:  # penalties and temperatures of the others are in units of the reward
        plain = pl.col("aggregator").is_in(["mean", "median", "minimum"])
        made, expected = made.filter(plain), expected.filter(plain)
    assert_frame_equal(made.drop("reward_unit"), expected, check_exact=False, rel_tol=1e-9)


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


def test_a_figure_in_own_units_is_the_same_picture_with_other_ticks():
    figure, (top, bottom) = plt.subplots(2)
    top.plot([0, 1, 2], [0, 1.0, 1.4])
    top.set_ylabel("gain in gold\n(base-model s.d.)")
    top.legend([top.lines[0]], [r"$\sqrt{2\,\mathrm{KL}}$"])
    bottom.plot([0, 1], [0, 1])
    bottom.set_ylabel("cost\nat β = 2 (base-model s.d.)")
    limits = top.get_ylim()
    draw_in_raw_units(figure, {"human": 100.0, "gain": 7.0}, "human")
    figure.canvas.draw()
    assert top.get_ylabel() == "gain in gold\n(units of gold)"
    assert bottom.get_ylabel() == "cost\nat β = 200 (units of human)"
    assert top.get_ylim() == limits
    shown = [float(text.get_text()) for text in top.get_yticklabels()]
    assert shown == pytest.approx([100 * y for y in top.get_yticks()])
    assert shown[1:3] == [0, 50]
    assert top.get_legend().get_texts()[0].get_text().startswith(r"$\sigma\sqrt")
    plt.close(figure)

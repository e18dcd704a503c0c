"""The page of distances to a target, and its verdicts, against tables with known distances."""

import polars as pl
import pytest
from learned import EXACT, TARGETS_TABLE
from test_pages import HOSTILE, harmless

from alignment_limits.policies.target import chosen, distances, main_setting
from alignment_limits.report.claims.limits import FAILS, HOLDS, PARTLY, UNKNOWN
from alignment_limits.report.claims.trained import approach, difference, levels_off, nearer, power, target_claims
from alignment_limits.report.pages.learning import targets_page
from alignment_limits.report.pages.table import PAGES

ROWS = chosen(main_setting(distances(TARGETS_TABLE, None)))
LEARNED = ROWS.filter(pl.col("pairs").is_not_null() & (pl.col("quantity") == "forward_kl"))


def scaled(objective, factor, rows=LEARNED, n=None):
    """The distances of one objective, at one size or at all, times a factor."""
    which = (pl.col("objective") == objective) & ((pl.col("pairs") == n) if n else pl.lit(True))
    return rows.with_columns(
        pl.when(which).then(pl.col(c) * factor).otherwise(pl.col(c)) for c in ("value", "low", "high")
    )


def test_differences_are_paired_by_seed():
    """0.35 − 0.1 and 1.02 times that: mean 0.2525, t-interval of two values 12.7 half differences."""
    found = difference(LEARNED, ("dpo", 1024), ("reverse-kl", 1024))
    assert found.value == pytest.approx(0.2525)
    assert found.high - found.value == pytest.approx(12.706 * 0.0025, rel=1e-3)
    one = difference(LEARNED.filter(pl.col("seed") == 0), ("dpo", 1024), ("reverse-kl", 1024))
    assert (one.value, one.low, one.high) == pytest.approx((0.25, 0.23, 0.27)), "of one seed, what both intervals allow"


def test_powers_of_n():
    found = power(LEARNED, "reverse-kl", 1024, 4096)
    assert found.value == pytest.approx(-1)
    assert found.low == pytest.approx(-1)
    alone = power(LEARNED.filter(pl.col("seed") == 0), "reverse-kl", 1024, 4096)
    assert alone.low == alone.high == pytest.approx(-1)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (LEARNED, HOLDS),
        (scaled("reverse-kl", 3, n=256), PARTLY),
        (scaled("reverse-kl", 30), FAILS),
        (LEARNED.filter((pl.col("objective") != "reverse-kl") | (pl.col("pairs") == 512)), UNKNOWN),
    ],
    ids=["nearer", "farther at one size", "farther at all", "no size in common"],
)
def test_reverse_kl_is_nearer_than_dpo_or_not(rows, verdict):
    assert nearer(rows, "reverse-kl", "dpo").verdict == verdict


def test_approaching_the_target():
    assert approach(LEARNED, ["pmle", "reverse-kl"], 0.6).verdict == HOLDS
    assert approach(LEARNED, ["pmle", "reverse-kl"], 0.04).verdict == PARTLY, "PMLE ends farther than the base"
    assert approach(LEARNED, ["pmle"], 0.04).verdict == UNKNOWN, "it falls, but ends farther than the base"
    assert approach(scaled("pmle", 30, n=4096), ["pmle"], 0.6).verdict == FAILS
    assert "as n^−1.00" in approach(LEARNED, ["reverse-kl"], 0.6).text


def test_dpo_levels_off_or_goes_on():
    assert levels_off(LEARNED).verdict == HOLDS
    assert levels_off(scaled("dpo", 0.4, n=4096)).verdict == PARTLY, "farther, but still falling"
    assert levels_off(scaled("dpo", 0.01, n=4096)).verdict == FAILS


def test_only_what_the_study_has_is_judged():
    assert [v.verdict for v in target_claims(ROWS)] == [HOLDS] * 4
    assert target_claims(ROWS.filter(pl.col("pairs").is_null())) == []
    unsure = ROWS.with_columns(reliable=pl.lit(False))
    assert target_claims(unsure) == []


def test_the_page_has_every_distance_exact_values_and_reasons():
    page = targets_page("mine", TARGETS_TABLE, EXACT, target_claims(ROWS))
    for said in ("tilted by gold at β = 0.7", "sample size of 30", "smallest is 12", "exact 0.072", "4,096",
                 "effective sample size 4.0 (needs 10)", "reverse KL; setting as-modelled; coefficient 0.5; seed 0",
                 "DPO levels off", "0.080 [0.070, 0.090]"):  # fmt: skip
        assert said in page, said
    assert page.count("†") == 3, "of the lead and of one policy's two distances"
    without = targets_page("mine", TARGETS_TABLE, None, [])
    assert "exact 0" not in without
    assert "No two policies here" in without


def test_an_infinite_distance_is_said():
    table = TARGETS_TABLE.with_columns(
        pl.when(pl.col("policy") == "ppo-a").then(float("inf")).otherwise(pl.col("estimate")).alias("estimate")
    )
    assert "∞" in targets_page("mine", table, None, [])


def test_hostile_names_are_text():
    harmless(
        targets_page(HOSTILE, TARGETS_TABLE.with_columns(policy=pl.lit(HOSTILE), reason=pl.lit(HOSTILE)), None, [])
    )


def test_the_targets_temperature_has_the_unit_of_its_reward():
    scales = pl.DataFrame({"reward": ["gold"], "prompt_id": ["a"], "centre": [0.0], "scale": [10.0]})
    reward, beta = TARGETS_TABLE["reward"][0], TARGETS_TABLE["beta"][0]
    tables = {"targets": TARGETS_TABLE, "scales": scales.with_columns(reward=pl.lit(reward))}
    page = " ".join(PAGES["targets_page"].make("s", tables, {"gold": reward})[0].split())
    assert f"at β = {10 * beta:g} (in the reward" in page
    tables["scales"] = scales.with_columns(reward=pl.Series([reward])).with_columns(reward=pl.lit("other"))
    ensemble = " ".join(PAGES["targets_page"].make("s", tables, {"gold": "other"})[0].split())
    assert f"at β = {beta:g} (rewards in standard deviations" in ensemble

"""Over-optimisation as a verdict: it can be shown or not be told, never be refuted."""

import math

import polars as pl
import pytest
import synthetic

from alignment_limits.report.claims.limits import HOLDS, PARTLY, UNKNOWN, turns_down

PROXIES = list(synthetic.RHO)


@pytest.mark.parametrize(("peaked", "verdict"), [(PROXIES, HOLDS), (["vader"], PARTLY), ([], UNKNOWN)])
def test_verdict(peaked, verdict):
    found = turns_down(synthetic.over_optimisation(peaked=tuple(peaked)), PROXIES)
    assert found.verdict == verdict
    assert f"For {len(peaked)} of {len(PROXIES)} proxies, gold rises significantly and then falls" in found.sentence


def test_one_path_is_enough():
    table = synthetic.over_optimisation(peaked=tuple(PROXIES))
    one = table.with_columns(finding=pl.when(pl.col("path") == "tilt").then(pl.lit("neither")).otherwise("finding"))
    assert turns_down(one, PROXIES).verdict == HOLDS
    assert "Along the tilt, reliable up to 2 nats, gold falls for no proxy." in turns_down(one, PROXIES).text


def test_an_ensemble_that_turns_is_no_proxy():
    assert turns_down(synthetic.over_optimisation(peaked=("mean-of-all",)), PROXIES).verdict == UNKNOWN


def test_it_says_where_how_far_and_how_well_the_form_fits():
    sentence = turns_down(synthetic.over_optimisation(), PROXIES).text
    assert "Along the tilt, reliable up to 2 nats, gold falls for vader from 0.50 [0.35, 0.70] nats." in sentence
    assert "Along best-of-n, reliable up to 64 draws, gold falls for vader from 5.0 [3.5, 7.0] draws." in sentence
    assert f"fits best-of-n for {len(PROXIES) - 1} of {len(PROXIES)} proxies" in sentence


def test_a_fall_within_its_interval_is_none():
    within = synthetic.over_optimisation(peaked=()).with_columns(drop=0.02, drop_low=-0.05, drop_high=0.1)
    assert turns_down(within, PROXIES).verdict == UNKNOWN


def test_a_significant_fall_whose_place_is_unknown_counts_and_says_why():
    table = synthetic.over_optimisation(peaked=("vader",)).with_columns(
        found=False, reason=pl.lit("gold falls, but few")
    )
    verdict = turns_down(table, PROXIES)
    assert verdict.verdict == PARTLY
    assert "gold falls for vader (gold falls, but few)." in verdict.text


def test_a_proxy_opposed_to_gold_is_no_over_optimisation():
    opposed = next(name for name in PROXIES if name != "vader")
    found = turns_down(synthetic.over_optimisation(peaked=("vader",), opposed=(opposed, "mean-of-all")), PROXIES)
    assert found.verdict == PARTLY
    assert "For 1 of 4 proxies, gold rises significantly and then falls significantly." in found.sentence
    assert f"{opposed} is opposed to gold: gold falls from the start" in found.sentence
    assert "mean-of-all" not in found.text
    alone = turns_down(synthetic.over_optimisation(peaked=(), opposed=tuple(PROXIES)), PROXIES)
    assert alone.verdict == UNKNOWN
    assert "are opposed to gold" in alone.sentence


def test_paths_that_cannot_be_judged_and_no_proxies():
    blind = synthetic.over_optimisation(peaked=()).with_columns(end=math.nan)
    assert "Along the tilt, no proxy has a reliable range." in turns_down(blind, PROXIES).text
    assert turns_down(blind.clear(), []).verdict == UNKNOWN


def test_a_bend_is_significant_only_where_its_interval_excludes_zero():
    table = synthetic.over_optimisation(misfit=()).with_columns(beta=0.1, beta_low=-0.05)
    assert "β is significantly positive for 0" in turns_down(table, PROXIES).text

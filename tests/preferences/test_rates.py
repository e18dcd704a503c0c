"""Choosing coefficients, slopes and floors on tables whose answers are known; a sweep's own invariances."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.preferences.fits import pair_design, pair_wins, profile_gamma
from alignment_limits.preferences.pairs import comparisons, draw_wins, draw_world, preferences
from alignment_limits.preferences.rates import choose, first_order, mean_interval, slopes, summary, sweep
from alignment_limits.study.estimates import Learning
from alignment_limits.tables.schemas.limits import SLOPES

SIZES = [2**k for k in range(6, 13)]
FIXED = 0.5


def made(objective="pmle", seeds=12):
    """A sweep whose forward KL is (1 + noise)·(8/n) at β = 0, floor + 3/n at the fixed β, least at β = 1/n."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for n in [0, *SIZES]:
            wobble = np.exp(0.05 * rng.normal())
            least = 1 / n if n else 0.001
            for beta in (0.0, FIXED, least, 2 * least):
                floor = 0.02 + 0.001 * (seed % 3)
                forward = {0.0: 8 * wobble / max(n, 1), FIXED: floor + (3 * wobble / n if n else 0)}.get(beta, 1 + beta)
                held = {FIXED: 0.69, least: 0.7, 2 * least: 0.68}.get(beta, np.nan)
                rows.append((objective, n, seed, beta, forward, forward, 0.0, held, np.nan))
    names = ["objective", "n", "seed", "beta", "forward_kl", "reverse_kl", "gain", "held_out", "predicted"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(setting=pl.lit("as-modelled"), level=0.0)


def test_the_oracle_takes_the_nearest_and_the_held_out_choice_never_looks_at_the_target():
    rates = choose(made(), [FIXED])
    assert set(rates.filter(pl.col("tuning") == "oracle")["beta"]) == {FIXED}
    held = rates.filter(pl.col("tuning") == "held-out")
    np.testing.assert_allclose(held["beta"], 2 / held["n"])
    assert (held["n"] > 0).all(), "the population has no pairs to hold out"
    assert rates.filter(pl.col("tuning") == "none")["beta"].unique().to_list() == [0.0]


def test_where_every_coefficient_runs_away_the_strongest_is_taken():
    lost = made().with_columns(forward_kl=pl.lit(np.inf), held_out=pl.lit(np.inf))
    rates = choose(lost, []).filter(pl.col("n") == 64)
    assert set(rates.filter(pl.col("tuning").is_in(["oracle", "held-out"]))["beta"]) == {FIXED}


def test_slopes_and_floors_are_those_the_table_was_made_with():
    found = slopes(choose(made(), [FIXED]), SIZES[0])
    slope = found.filter((pl.col("quantity") == "slope") & (pl.col("tuning") == "none")).row(0, named=True)
    assert slope["low"] < -1 < slope["high"]
    assert slope["high"] - slope["low"] < 0.1
    floor = found.filter(pl.col("quantity") == "floor").row(0, named=True)
    assert floor["exact"] == pytest.approx(0.021)
    assert floor["value"] == pytest.approx(0.021, abs=3e-4)
    excess = found.filter(pl.col("quantity") == "excess").row(0, named=True)
    assert excess["low"] < 0 < excess["high"]
    assert excess["high"] - excess["low"] < floor["high"] - floor["low"], "seeds' own floors are taken out"


def test_too_few_sizes_for_a_slope_give_an_empty_table():
    few = choose(made().filter(pl.col("n").is_in([0, *SIZES[:2]])), [FIXED])
    found = slopes(few, SIZES[0])
    assert found.is_empty()
    assert found.columns == list(SLOPES.columns)


def test_a_mean_with_a_policy_that_ran_away_is_infinite_without_interval():
    assert mean_interval(np.array([1.0, np.inf]))[0] == np.inf
    assert np.isnan(mean_interval(np.array([1.0, np.inf]))[1])
    mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert mean == 2
    assert high - low == pytest.approx(2 * 4.30265 / np.sqrt(3), rel=1e-5)
    lost = made().with_columns(
        forward_kl=pl.when((pl.col("seed") == 0) & (pl.col("beta") == 0)).then(np.inf).otherwise("forward_kl")
    )
    row = summary(choose(lost, [FIXED])).filter((pl.col("tuning") == "none") & (pl.col("quantity") == "forward_kl"))
    assert set(row["value"]) == {np.inf}
    np.testing.assert_allclose(row["finite"], 11 / 12)


TINY = Learning(n=[64, 4096], seeds=2, betas=[0.1, 1, 10], fixed_betas=[1], folds=2).model_dump()


def test_a_seeds_rows_do_not_depend_on_which_others_are_learned_with_it():
    both = pl.DataFrame(sweep(TINY, "as-modelled", 0.0, 7, [0, 1])).sort("objective", "beta", "n", "seed")
    alone = pl.DataFrame(sweep(TINY, "as-modelled", 0.0, 7, [1])).sort("objective", "beta", "n", "seed")
    of_one = both.filter(pl.col("seed") == 1)
    for column in ("forward_kl", "held_out", "gain"):
        np.testing.assert_allclose(of_one[column], alone[column], rtol=1e-6, atol=1e-12)


def test_the_populations_minimisers_are_the_closed_forms():
    rows = pl.DataFrame(sweep(TINY, "as-modelled", 0.0, 0, [0])).filter(pl.col("n") == 0)
    world = draw_world(TINY["world"], np.random.default_rng([0, 0, 0]))
    target, base = world.log_target, world.log_base
    for objective, exponent, base_share in (("reverse-kl", 0.5 / 1.5, 1 / 1.5), ("rlhf", 0.5, 1.0), ("dpo", 0.5, 1.0)):
        logits = exponent * target + base_share * base
        policy = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = (np.exp(target) * (target - policy)).sum(-1).mean()
        found = rows.filter((pl.col("objective") == objective) & (pl.col("beta") == 1))["forward_kl"][0]
        assert found == pytest.approx(expected, rel=1e-5)
    free = rows.filter((pl.col("beta") == 0) & (pl.col("objective") != "base"))["forward_kl"]
    np.testing.assert_allclose(free, 0, atol=1e-9)


def test_in_a_class_of_few_features_the_reward_learns_by_its_own_constant_the_likelihood_by_that_of_all_tables():
    linear = Learning(
        n=[64], seeds=2, betas=[1], fixed_betas=[1], folds=2, world={"target_dimension": 3, "reward_dimension": 4}
    ).model_dump()
    rows = pl.DataFrame(sweep(linear, "as-modelled", 0.0, 0, [0])).filter((pl.col("beta") == 0) & (pl.col("n") == 64))
    predicted = dict(rows.select("objective", "predicted").iter_rows())
    world = draw_world(linear["world"], np.random.default_rng([0, 0, 0]))
    c = comparisons("as-modelled", 0.0, world, linear["world"], np.random.default_rng(0))
    for objective, features in (("reverse-kl", world.features[..., :4]), ("pmle", None)):
        constant = first_order(world.log_target, c.table, c.expected_wins(), gamma=c.gamma, features=features)
        assert predicted[objective] == pytest.approx(constant / 64, rel=1e-9)
    assert predicted["reverse-kl"] < predicted["pmle"] / 2


OPTIONS = TINY["world"] | {"target_dimension": 3, "target_sd": 0.7, "base_sd": 0.7}


def estimates(dimension, seeds=40, n=6000):
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        world = draw_world(OPTIONS, rng, tilt=True)
        wins = draw_wins(preferences(world.log_target, gamma=0.5), world.log_base, n, rng)
        won, lost = pair_wins(wins[None].astype(float))
        base = pair_design(world.log_base[..., None])[:, 0]
        found.append(profile_gamma(base, pair_design(world.features[..., :dimension]), won, lost))
    return [np.concatenate(x) for x in zip(*found, strict=True)]


def test_gamma_is_found_and_its_intervals_hold_it():
    gamma, low, high, identified = estimates(3)
    assert identified.all()
    assert gamma.mean() == pytest.approx(0.5, abs=4 * gamma.std() / np.sqrt(40))
    held = ((low <= 0.5) & (high >= 0.5)).mean()
    assert held >= 0.85, "of forty 95% intervals, six misses have a chance of 1 in 100"
    np.testing.assert_allclose((high - low) / 2, 1.96 * gamma.std(), rtol=0.5)


def test_gamma_is_not_identified_beside_a_reward_of_every_response():
    gamma, low, high, identified = estimates(90, seeds=2)
    assert not identified.any()
    assert np.isnan(gamma).all()
    assert (low == -np.inf).all()
    assert (high == np.inf).all()

"""What figures and pages read off the tables of distances."""

import polars as pl
from learned import EXACT, TARGETS_TABLE

from alignment_limits.policies.target import chosen, distances, main_setting, objectives_of, with_exact


def test_exact_values_take_the_place_of_estimates_and_intervals():
    estimated, exact = distances(TARGETS_TABLE, None), distances(TARGETS_TABLE, EXACT)
    assert estimated.height == exact.height == TARGETS_TABLE.height
    assert (exact["value"] == EXACT["exact"]).all()
    assert (exact["low"] == exact["high"]).all()
    assert exact["reliable"].all()
    assert (estimated["value"] == TARGETS_TABLE["estimate"]).all()
    assert not estimated["reliable"].all()


def test_of_each_objectives_coefficients_the_nearest_over_the_seeds_is_taken():
    """dpo at n = 256: coefficient 0.1 is farther than 0.5 for every seed; policies without pairs all stay."""
    rows = chosen(distances(TARGETS_TABLE, None))
    kept = rows.filter((pl.col("objective") == "dpo") & (pl.col("pairs") == 256))
    assert kept["coefficient"].unique().to_list() == [0.5]
    assert sorted(kept["seed"].to_list()) == [0, 0, 1, 1]
    assert set(rows.filter(pl.col("pairs").is_null())["policy"]) == {"base", "ppo-a", "brought"}
    assert rows.height == TARGETS_TABLE.height - TARGETS_TABLE.filter(pl.col("coefficient") == 0.1).height


def test_pairs_as_modelled_come_first():
    rows = distances(TARGETS_TABLE, None)
    assert set(main_setting(rows)["setting"]) == {"as-modelled", None}
    noisy = rows.filter(pl.col("setting").ne_missing("as-modelled"))
    assert set(main_setting(noisy)["setting"]) == {"label-noise", None}
    none = rows.filter(pl.col("pairs").is_null())
    assert main_setting(none).equals(none)


def test_objectives_are_in_the_order_of_the_learning_figures_then_the_others():
    rows = distances(TARGETS_TABLE, None)
    assert objectives_of(rows) == ["reverse-kl", "pmle", "dpo", "ppo", "brought"]


def test_exact_values_take_the_place_of_estimates_on_the_plane():
    """KL is a key of the frontier's gains at a KL, and itself a quantity at a temperature; NaN keys are equal."""
    nan = float("nan")
    keys = {"optimized": ["a"] * 3, "at": ["kl", "kl", "beta"], "beta": [nan, 2.0, 1.0]}
    values = {"kl": [0.5, 1.0, 0.7], "gain": [1.0, 2.0, 3.0], "gain_low": [0.5, 1.5, 2.5], "gain_high": [1.5, 2.5, 3.5]}
    frontier = pl.DataFrame(keys | values | {"kl_low": 0.0})
    rows = [(0, "gain", 0.9), (1, "gain", nan), (2, "gain", 2.9), (2, "kl", 0.8)]
    exact = pl.concat(
        frontier[i].select(*keys, "kl", quantity=pl.lit(q), exact=pl.lit(v), low=pl.lit(0.0)) for i, q, v in rows
    )
    found = with_exact(frontier, exact)
    assert found["gain"].to_list() == [0.9, 2.0, 2.9]
    assert found["gain_low"].to_list() == [0.9, 1.5, 2.9]
    assert found["kl"].to_list() == [0.5, 1.0, 0.8]
    assert found["kl_low"].to_list() == [0.0, 0.0, 0.8]
    assert found.columns == frontier.columns

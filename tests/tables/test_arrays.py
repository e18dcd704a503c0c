"""Tables of scores as arrays: the numbers of a study, whatever the order of the rows."""

import numpy as np
import polars as pl
import pytest

import alignment_limits
from alignment_limits.errors import EstimateError, TableError
from alignment_limits.limits import limit_at


def table(prompts=20, samples=16):
    rng = np.random.default_rng(0)
    ids = [f"p{i}" for i in range(prompts) for _ in range(samples)]
    columns = {"judge": rng.normal(size=len(ids)), "length": rng.integers(1, 90, len(ids)), "text": ["a"] * len(ids)}
    return pl.DataFrame({"prompt_id": ids, "sample_id": list(range(samples)) * prompts} | columns)


def test_all_columns_of_numbers_are_rewards_in_units_of_their_spread(tmp_path):
    table().write_parquet(tmp_path / "scores.parquet")
    scores = alignment_limits.read(tmp_path / "scores.parquet")
    assert list(scores.rewards) == ["judge", "length"]
    assert scores["judge"].shape == (20, 16)
    np.testing.assert_allclose(scores["judge"].mean(axis=1), 0, atol=1e-12)
    assert scores["judge"].var(axis=1, ddof=1).mean() == pytest.approx(1)
    assert repr(scores) == "ScoreArrays: 20 prompts × 16 samples; rewards: judge, length"


def test_scores_may_stay_as_they_are_and_prompts_may_have_fewer_samples(tmp_path):
    table().slice(3).with_columns(flat=pl.lit(7)).write_csv(tmp_path / "scores.csv")
    scores = alignment_limits.read(tmp_path / "scores.csv", ["judge", "flat"], standardised=False)
    assert np.nanmax(scores["flat"]) == np.nanmin(scores["flat"]) == 7
    assert np.isnan(scores["judge"]).sum() == 3
    assert scores.prompt_ids == sorted(f"p{i}" for i in range(20))
    row = scores.prompt_ids.index("p7")
    np.testing.assert_array_equal(scores["judge"][row], table().filter(prompt_id="p7")["judge"])


def test_estimates_do_not_depend_on_the_order_of_rows(tmp_path):
    limits = []
    for name, rows in (("one", table()), ("two", table().sample(fraction=1, shuffle=True, seed=1))):
        rows.with_columns(cluster=pl.col("prompt_id").str.slice(1, 1)).write_parquet(tmp_path / f"{name}.parquet")
        scores = alignment_limits.read(tmp_path / f"{name}.parquet", ["judge"])
        limits.append(limit_at(scores["judge"], [0.5], **scores.prompts))
    assert limits[0].gain_low[0] == limits[1].gain_low[0]
    assert "clusters" in limits[0].reason[0]


def test_bad_tables_and_names_are_named(tmp_path):
    table().with_columns(judge=pl.lit("good")).write_parquet(tmp_path / "scores.parquet")
    with pytest.raises(TableError, match=r"scores.parquet: 'judge' is not a number \('good'\), in row 1"):
        alignment_limits.read(tmp_path / "scores.parquet", ["judge"])
    with pytest.raises(EstimateError, match="there is no reward 'jugde'; there are: length"):
        alignment_limits.read(tmp_path / "scores.parquet")["jugde"]


def test_a_table_without_a_reward_and_a_constant_one_are_named(tmp_path):
    keys = {"prompt_id": ["a", "a", "b", "b"], "sample_id": [0, 1, 0, 1]}
    pl.DataFrame(keys | {"rm": [1.0, None, 2.0, 3.0]}).write_parquet(tmp_path / "holes.parquet")
    with (
        pytest.warns(UserWarning, match="'rm' is missing"),
        pytest.raises(TableError, match=r"holes\.parquet has no column that can be a reward; it has: prompt_id"),
    ):
        alignment_limits.read(tmp_path / "holes.parquet")
    pl.DataFrame(keys | {"rm": [1.0] * 4}).write_parquet(tmp_path / "same.parquet")
    with pytest.raises(EstimateError, match=r"same\.parquet: Reward 'rm' is constant"):
        alignment_limits.read(tmp_path / "same.parquet")

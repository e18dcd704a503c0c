"""Estimates depend on prompts and their ids, not on the order of a table's rows or on which split a row falls into."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from alignment_limits.limits import CorrectedCurve
from alignment_limits.tables.estimates import estimate
from alignment_limits.tables.grid import Grid, prompt_keys

P = {
    "gold": "gold",
    "optimized": ["gold", "proxy"],
    "betas": [2.0, 1.0],
    "kls": [0.2, 0.5],
    "best_of": [1, 2, 4],
    "relatives_of": ["gold", "proxy"],
    "soft_temperatures": [0.5],
    "pessimism_betas": [2.0],
    "bootstrap": 200,
    "seed": 0,
}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    gold = rng.standard_normal((20, 32))
    ids = [(f"p{i}", j) for i in range(20) for j in range(32)]
    columns = {"gold": gold, "proxy": np.round(0.6 * gold + 0.8 * rng.standard_normal(gold.shape), 1)}
    key = {"prompt_id": [i for i, _ in ids], "sample_id": [j for _, j in ids]}
    return pl.DataFrame({**key, **{k: v.ravel() for k, v in columns.items()}}, schema_overrides={"sample_id": pl.Int32})


@pytest.mark.parametrize("name", ["frontier", "best_of_n", "proxy_gap", "over_optimisation"])
def test_rows_in_any_order_give_the_same_table(name, table):
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(estimate(name, table, P), estimate(name, shuffled, P), check_exact=True)


def halves(table, *, keyed=True):
    """Prompt id -> its samples in the order in which every random split deals them to halves and quarters."""
    grid = Grid.of(table)
    curve = CorrectedCurve(grid.array(table["gold"]), keys=prompt_keys(table) if keyed else None)
    dealt = [np.concatenate([part.sizes, part.rewards.reshape(len(part.sizes), -1)], axis=1) for part in curve.splits]
    return {name: [part[i] for part in dealt] for i, name in enumerate(grid.prompt_ids)}


def assert_alike(before, after, names):
    for name in names:
        for i in range(4):  # of 8 splits: fewer are drawn where there are more prompts
            np.testing.assert_array_equal(before[name][i], after[name][i], err_msg=f"{name}, split {i}")


def more(count):
    """Further prompts, named to sort before, between and after p0 to p19."""
    rng = np.random.default_rng(1)
    ids = [f"{'apz'[i % 3]}{100 + i}" for i in range(count)]
    return pl.DataFrame(
        {
            "prompt_id": [name for name in ids for _ in range(32)],
            "sample_id": list(range(32)) * count,
            "gold": rng.standard_normal(32 * count),
            "proxy": rng.standard_normal(32 * count),
        },
        schema_overrides={"sample_id": pl.Int32},
    )


@pytest.mark.parametrize("seed", range(5))
def test_rows_in_any_order_leave_every_prompts_halves_alone(table, seed):
    before = halves(table)
    assert_alike(before, halves(table.sample(fraction=1, shuffle=True, seed=seed)), before)


@pytest.mark.parametrize("count", [1, 7, 200])
def test_more_prompts_leave_the_others_halves_alone(table, count):
    after = halves(pl.concat([more(count), table]).sample(fraction=1, shuffle=True, seed=count))
    assert len(after) == 20 + count
    assert_alike(halves(table), after, [f"p{i}" for i in range(20)])


def test_fewer_prompts_leave_the_others_halves_alone(table):
    kept = [f"p{i}" for i in range(3, 20)]
    assert_alike(halves(table), halves(table.filter(pl.col("prompt_id").is_in(kept))), kept)


def test_splits_seeded_by_row_would_be_noticed(table):
    """The same comparison fails where a prompt is named by its row, and two prompts with one score are dealt apart."""
    before, after = halves(table, keyed=False), halves(pl.concat([more(7), table]), keyed=False)
    with pytest.raises(AssertionError, match="split 0"):
        assert_alike(before, after, [f"p{i}" for i in range(20)])
    same = table.with_columns(gold=pl.col("sample_id").cast(pl.Float64))
    dealt = {tuple(parts[0]) for parts in halves(same).values()}
    assert len(dealt) == 20


def test_keys_come_from_the_ids_alone(table):
    keys = prompt_keys(table)
    assert len(set(keys.tolist())) == 20
    assert np.all(keys >= 0)
    one = prompt_keys(table.filter(pl.col("prompt_id") == "p7"))
    assert one[0] == keys[Grid.of(table).prompt_ids.index("p7")]
    assert prompt_keys(pl.DataFrame({"prompt_id": ["abc"]}))[0] == 0xBA7816BF8F01CFEA >> 1  # SHA-256 of "abc"

"""Estimates depend on prompts and their ids, not on the order of a table's rows or on which split a row falls into."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import Grid, prompt_keys
from alignment_limits.limits import CorrectedCurve
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import BEST_OF_N, FRONTIER, OVER_OPTIMISATION, PROXY_GAP

SCRIPTS = Path(__file__).parents[1] / "workflow/scripts"
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
WRITTEN = {
    "frontier": ("frontier", FRONTIER),
    "best_of_n": ("best_of_n", BEST_OF_N),
    "proxy_gap": ("proxy_gap", PROXY_GAP),
    "over_optimisation": ("table", OVER_OPTIMISATION),
}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    gold = rng.standard_normal((20, 32))
    ids = [(f"p{i}", j) for i in range(20) for j in range(32)]
    columns = {"gold": gold, "proxy": np.round(0.6 * gold + 0.8 * rng.standard_normal(gold.shape), 1)}
    key = {"prompt_id": [i for i, _ in ids], "sample_id": [j for _, j in ids]}
    return pl.DataFrame({**key, **{k: v.ravel() for k, v in columns.items()}}, schema_overrides={"sample_id": pl.Int32})


def made(script, table, folder):
    """The table a script writes for these standardised scores."""
    folder.mkdir()
    write_table(table, folder / "in.parquet", STANDARDISED, {"study": "tiny", "stage": "test", "versions": {}})
    output, schema = WRITTEN[script]
    job = SimpleNamespace(
        input=SimpleNamespace(standardised=str(folder / "in.parquet")),
        output=SimpleNamespace(**{output: str(folder / "out.parquet")}),
        params=SimpleNamespace(p=P, code={"alignment_limits": "c"}),
        config={"study": "tiny", "seed": 0},
        log=[str(folder / "log")],
        rule=script,
    )
    runpy.run_path(str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": job})
    return read_table(folder / "out.parquet", schema)


@pytest.mark.parametrize("script", WRITTEN)
def test_rows_in_any_order_give_the_same_table(script, table, tmp_path):
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(made(script, table, tmp_path / "a"), made(script, shuffled, tmp_path / "b"), check_exact=True)


def test_a_prompts_samples_are_split_alike_in_any_company(table):
    def split(part):
        return CorrectedCurve(Grid.of(part).array(part["gold"]), keys=prompt_keys(part)).splits[0].rewards

    kept = [f"p{i}" for i in range(3, 20)]
    rows = [i for i, name in enumerate(Grid.of(table).prompt_ids) if name in kept]
    np.testing.assert_array_equal(split(table)[rows], split(table.filter(pl.col("prompt_id").is_in(kept))))


def test_keys_come_from_the_ids_alone(table):
    keys = prompt_keys(table)
    assert len(set(keys.tolist())) == 20
    assert np.all(keys >= 0)
    one = prompt_keys(table.filter(pl.col("prompt_id") == "p7"))
    assert one[0] == keys[Grid.of(table).prompt_ids.index("p7")]
    assert prompt_keys(pl.DataFrame({"prompt_id": ["abc"]}))[0] == 0xBA7816BF8F01CFEA >> 1  # SHA-256 of "abc"

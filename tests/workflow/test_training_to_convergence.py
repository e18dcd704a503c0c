"""A sweep over learning rates, training on a part of the prompts, and what a gap is made of, in the workflow."""

import numpy as np
import polars as pl

from alignment_limits.tables.artifacts import read_provenance, read_table
from alignment_limits.tables.schemas.limits import BY_PROMPT, GAP, POLICIES
from alignment_limits.tables.schemas.samples import CURVES, SWEEP

RECIPE = {"optimize": ["vowels"], "coefficients": [1], "seeds": [0], "batch": 8, "train_on": 0.5}
CHANGE = {
    "training": {
        "rloo": RECIPE
        | {"objective": "rloo", "group": 4, "steps": 12, "stop": {"patience": 4}, "learning_rate": [1.0e-3, 1.0e-2]},
        "fit": RECIPE | {"objective": "tilt", "steps": 2},
    }
}
TABLES = {
    "training/sweep.parquet": SWEEP,
    "policies/policies.parquet": POLICIES,
    "policies/split.parquet": POLICIES,
    "policies/by_prompt.parquet": BY_PROMPT,
    "policies/gap.parquet": GAP,
}
RLOO, FIT = "rloo-vowels-1-s0", "fit-vowels-1-s0"


def test_a_rate_is_chosen_and_policies_are_judged_on_both_parts_of_the_prompts(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.study(CHANGE)
    results = project.folder / "results/tiny"
    wanted = [f"results/tiny/{table}" for table in TABLES]
    said = project.run(*wanted, "results/tiny/figures/gap.png", f"results/tiny/training/{RLOO}")
    assert said.count("rule train_policy:") == 4, "two of the sweep, and the two of the study"
    sweep, placed, split, by_prompt, gap = (read_table(results / name, of) for name, of in TABLES.items())

    assert sweep["learning_rate"].to_list() == [1e-3, 1e-2]
    assert sweep["seed"].to_list() == [1, 1]
    chosen = sweep.filter("chosen")
    assert chosen["value"].to_list() == [sweep["value"].max()]
    rate = chosen["learning_rate"][0]
    curves = results / f"training/{RLOO}/curves.parquet"
    assert set(read_table(curves, CURVES)["learning_rate"]) == {rate}
    run = read_provenance(curves)["run"]
    assert run["learning_rate"] == rate
    assert run["ended"] in ("converged", "cut short")

    assert set(placed["judged_on"]) == {"all"}
    of_rloo = placed.filter(policy=RLOO)
    assert of_rloo["ended"][0] == run["ended"]
    assert of_rloo["learning_rate"][0] == rate
    own = split.filter(policy=RLOO, evaluated="vowels")
    assert own["judged_on"].to_list() == ["trained", "held-out"]
    each = by_prompt.filter(policy=RLOO, evaluated="vowels")
    for name, part in (("trained", each.filter("trained")), ("held-out", each.filter(~pl.col("trained")))):
        row = own.filter(judged_on=name)
        assert row["prompts"].to_list() == [part.height] == [each.height / 2]
        np.testing.assert_allclose(row["gain"], [part["gain"].mean()])
        np.testing.assert_allclose(row["kl"], [part["kl"].mean()])

    parts = {(row["policy"], row["part"]): row for row in gap.iter_rows(named=True)}
    assert parts[RLOO, "expressibility"]["against"] == FIT
    assert parts[RLOO, "objective"] | {"low": 0, "high": 0, "value": 0} == parts[RLOO, "objective"]
    known = gap.filter(pl.col("basis") != "unknown")
    rest = known.filter(pl.col("part") != "total").group_by("policy", maintain_order=True).agg(pl.col("value").sum())
    total = known.filter(pl.col("part") == "total")
    np.testing.assert_allclose(rest["value"], total["value"], atol=1e-9)

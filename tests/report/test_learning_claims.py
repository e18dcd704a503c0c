"""Verdicts on learning from preferences, on tables of a few rows each."""

import math

import numpy as np
import polars as pl
import pytest

from alignment_limits.report.claims import learning as claims
from alignment_limits.report.claims.learning import THREE
from alignment_limits.report.claims.limits import FAILS, HOLDS, PARTLY, UNKNOWN
from alignment_limits.report.claims.trained import difference, power
from alignment_limits.report.numbers import verdict


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(-1.04, -0.96)] * 3, HOLDS),
        ([(-1.04, -0.96), (-1.2, -0.8), (-1.2, -0.8)], PARTLY),
        ([(-1.2, -1.06)] * 3, FAILS),
        ([(-1.2, -0.8)] * 3, UNKNOWN),
    ],
)
def test_a_rate_holds_where_the_whole_interval_is_near_minus_one(intervals, verdict):
    rows = [
        {"quantity": "slope", "tuning": "none", "objective": o, "value": (low + high) / 2, "low": low, "high": high}
        for o, (low, high) in zip(THREE, intervals, strict=True)
    ]
    assert claims.rate(pl.DataFrame(rows), 64).verdict == verdict


def means(*rows):
    """Rows of objective, tuning, n, mean forward KL."""
    table = pl.DataFrame(rows, schema=["objective", "tuning", "n", "value"], orient="row")
    return table.with_columns(quantity=pl.lit("forward_kl"))


def test_an_objective_whose_policy_ran_away_is_not_compared_with_its_oracle():
    fine = [("pmle", "oracle", 64, 1.0), ("pmle", "held-out", 64, 1.05)]
    lost = [("dpo", "oracle", 64, 1.0), ("dpo", "held-out", 64, math.inf)]
    far = [("rlhf", "oracle", 64, 1.0), ("rlhf", "held-out", 64, 1.2)]
    assert claims.honest(means(*fine, *lost), 64).verdict == HOLDS
    assert claims.honest(means(*fine, *far), 64).verdict == PARTLY
    assert "RLHF: at most 1.2 times" in claims.honest(means(*fine, *far), 64).text


def test_reverse_kl_is_compared_with_rlhf_for_both_ways_of_choosing_the_coefficient():
    rows = [
        (tuning, n, seed, objective, value + 0.1 * seed)
        for tuning, gap in (("oracle", 0.5), ("held-out", 0.0))
        for n in (32, 64)
        for seed in range(4)
        for objective, value in (("reverse-kl", 1.0), ("rlhf", 1.0 + gap))
    ]
    table = pl.DataFrame(rows, schema=["tuning", "n", "seed", "objective", "forward_kl"], orient="row")
    found = claims.never_worse(table)
    assert found.verdict == HOLDS
    assert "β of the oracle: significantly nearer at n = 32 to 64 (2 sizes), of 2 n" in found.text
    assert "β chosen on held-out pairs: significantly nearer at no n" in found.text
    other = table.with_columns(tuning=pl.col("tuning").replace({"oracle": "held-out", "held-out": "oracle"}))
    assert "β chosen on held-out pairs: significantly nearer at n" in claims.never_worse(other).text


def test_coverage_counts_both_samplers_and_the_cases_without_a_policy():
    rows = []
    for setting, measured in (("tempered-pairs", 1.0), ("best-of-n-pairs", 2.0), ("best-of-n-pairs", math.inf)):
        common = {"setting": setting, "level": measured, "objective": "pmle", "tuning": "none", "n": 64}
        rows.append(
            common | {"quantity": "forward_kl", "value": measured, "low": measured - 0.1, "high": measured + 0.1}
        )
        rows.append(common | {"quantity": "predicted", "value": 1.0, "low": 1.0, "high": 1.0})
    found = claims.coverage(pl.DataFrame(rows))
    assert found.verdict == PARTLY
    assert found.cases == (
        "best-of-n-pairs 2, PMLE: measured 2.00, predicted 1.00",
        "tempered-pairs 1, PMLE: measured 1.00, predicted 1.00",
    ), "in order of names"
    assert "In 1 further cases some seed has no finite policy" in found.sentence


def test_nearest_writes_a_dash_where_nothing_is_farther_or_as_near():
    common = {"setting": "as-modelled", "level": 0.0, "n": 64, "tuning": "held-out"}
    summary = pl.DataFrame(
        [
            common | {"quantity": "forward_kl", "objective": o, "value": v, "low": v, "high": v}
            for o, v in (("pmle", 1.0), ("dpo", 2.0))
        ]
    )
    rates = pl.DataFrame(
        [
            common | {"objective": o, "seed": s, "forward_kl": v + s}
            for o, v in (("pmle", 1.0), ("dpo", 2.0))
            for s in (0, 1)
        ]
    )
    (row,) = claims.nearest(rates, summary)
    assert row[1:2] + row[3:] == ["PMLE", "DPO", "–"]


DISTANCES = pl.DataFrame(
    [
        {"objective": o, "pairs": n, "seed": s, "value": v, "low": v - 0.1, "high": v + 0.1}
        for o, n, s, v in (
            ("pmle", 100, 0, 1.0), ("pmle", 400, 0, 0.25), ("pmle", 100, 1, 0.0), ("pmle", 400, 1, 0.5),
            ("dpo", 400, 0, 0.5), ("dpo", 400, 1, 1.0),
        )
    ]
)  # fmt: skip


def test_powers_leave_out_a_distance_of_zero_and_are_reliable_of_one_seed_too():
    found = power(DISTANCES, "pmle", 100, 400)
    assert found.value == pytest.approx(-1), "the second seed's distance was 0 to begin with"
    assert found.reliable is True
    assert difference(DISTANCES, ("dpo", 400), ("pmle", 400)).reliable is True


def test_what_has_no_verdict_is_not_reliable():
    table = pl.DataFrame({"gain": [1.0, 1.0, np.nan, 1.0], "reliable": [True, None, True, False]})
    assert table.select(verdict(table, "gain")).to_series().to_list() == [True, False, False, False]

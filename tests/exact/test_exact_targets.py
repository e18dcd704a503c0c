"""Exact distances to a target beside estimates."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.exact import laws
from alignment_limits.exact.estimands import Everything, distances, exact_targets
from alignment_limits.tables.schemas.limits import EXACT_TARGETS, TARGETS

RNG = np.random.default_rng(1)
BASE = np.log(RNG.dirichlet(np.ones(8), 5))
REWARD = RNG.standard_normal((5, 8))
TARGET = laws.tilt(BASE, REWARD, 0.5)
LAWS = {"there": TARGET, "other": laws.tilt(BASE, RNG.standard_normal((5, 8)), 1.0)}
EVERYWHERE = Everything(BASE, {"gold": REWARD}, LAWS)
OWN = Everything(BASE[:3], {"gold": REWARD[:3]}, {name: law[:3] for name, law in LAWS.items()})


def rows():
    found = [
        {"policy": p, "quantity": q, "reward": "gold", "beta": 0.5, "estimate": 0.3, "low": -0.1, "high": high,
         "plugin": 0.2, "reliable": True, "reason": "", "pairs": 8 if p == "other" else None}
        for p in ("base", "there", "other") for q, high in (("forward_kl", 0.5), ("reverse_kl", 1e-9))
    ]  # fmt: skip
    table = pl.DataFrame(found)
    return table.with_columns(
        pl.lit(None, type_).alias(name) for name, type_ in TARGETS.columns.items() if name not in table.columns
    ).select(list(TARGETS.columns))


def test_distances_are_sums_over_all_replies():
    for policy, law in {"base": BASE, **LAWS}.items():
        found = distances(EVERYWHERE, {"policy": policy, "reward": "gold", "beta": 0.5})
        z = (np.exp(BASE + REWARD / 0.5)).sum(1, keepdims=True)
        target = np.exp(BASE + REWARD / 0.5) / z
        assert found["forward_kl"] == pytest.approx((target * (np.log(target) - law)).sum(1).mean(), abs=1e-12)
        assert found["reverse_kl"] == pytest.approx((np.exp(law) * (law - np.log(target))).sum(1).mean(), abs=1e-12)
    assert distances(EVERYWHERE, {"policy": "there", "reward": "gold", "beta": 0.5}) == pytest.approx(
        {"forward_kl": 0, "reverse_kl": 0}, abs=1e-12
    )


def test_each_estimate_has_its_exact_value_beside_it():
    table = exact_targets(rows(), OWN, EVERYWHERE).select(list(EXACT_TARGETS.columns))
    assert sorted(table.select("policy", "quantity").rows()) == sorted(rows().select("policy", "quantity").rows())
    for row in table.iter_rows(named=True):
        assert row["exact"] == pytest.approx(distances(OWN, row)[row["quantity"]], abs=1e-12)
        assert row["population"] == pytest.approx(distances(EVERYWHERE, row)[row["quantity"]], abs=1e-12)
        assert (row["estimate"], row["low"]) == (0.3, -0.1)
        assert row["holds_exact"] == (row["exact"] <= row["high"] + 1e-6)
    held = dict(table.filter(pl.col("policy") == "there").select("quantity", "holds_exact").iter_rows())
    assert held == {"forward_kl": True, "reverse_kl": True}
    assert not table.filter((pl.col("policy") == "other") & (pl.col("quantity") == "reverse_kl"))["holds_exact"][0]
    assert table.filter(pl.col("policy") == "other")["pairs"].to_list() == [8, 8]

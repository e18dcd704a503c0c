"""Exact distances of laws over listed replies to a target that is a tilt of the base, beside their estimates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import polars as pl

from alignment_limits.enumerable import laws
from alignment_limits.enumerable.beside import beside
from alignment_limits.enumerable.estimands import Everything, Row, Values
from alignment_limits.enumerable.values import kl
from alignment_limits.schemas.enumerable import VALUES
from alignment_limits.schemas.targets import EXACT_TARGETS

KEYS = [column for column in EXACT_TARGETS.columns if column not in VALUES]


def distances(of: Everything, row: Row) -> Values:
    """KL(target‖policy) and KL(policy‖target), nats, means over prompts; a policy that is not listed is the base."""
    target = laws.tilt(of.base, of.rewards[row["reward"]], row["beta"])
    law = of.policies.get(row["policy"], of.base)
    return {"forward_kl": float(kl(target, law).mean()), "reverse_kl": float(kl(law, target).mean())}


def exact_targets(targets: pl.DataFrame, own: Everything, population: Everything) -> pl.DataFrame:
    """The table `targets` with the exact value of every row; `own` and `population` as for `beside`."""
    parts = []
    for quantity in targets["quantity"].unique(maintain_order=True):
        rows = targets.filter(pl.col("quantity") == quantity)
        named = rows.rename({"estimate": quantity, "low": f"{quantity}_low", "high": f"{quantity}_high"})
        parts.append(beside(named, KEYS, partial(_one, quantity), own, population))
    return pl.concat(parts)


def _one(quantity: str, of: Everything) -> Callable[[Row], Values]:
    return lambda row: {quantity: distances(of, row)[quantity]}

"""Policies compared seed by seed: every seed is a world and data of its own, in which all objectives learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.learning.rates import mean_interval
from alignment_limits.report.lookup import Estimate


def paired(rows: pl.DataFrame, tuning: str, a: str, b: str) -> Estimate:
    """Mean over seeds of the forward KL of a minus that of b, with its 95% interval; infinite where one ran away."""
    chosen = rows.filter(pl.col("tuning") == tuning)
    both = chosen.filter(pl.col("objective") == a).join(chosen.filter(pl.col("objective") == b), on=["seed", "n"])
    left, right = both["forward_kl"].to_numpy(), both["forward_kl_right"].to_numpy()
    sure = int(np.isfinite(left).all()) - int(np.isfinite(right).all())
    if sure:  # one always finite, the other not: told without a t-test
        return Estimate(-sure * np.inf, -sure * np.inf, -sure * np.inf)
    with np.errstate(invalid="ignore"):
        return Estimate(*mean_interval(left - right))


def last(rows: pl.DataFrame) -> int:
    """The largest n."""
    return int(rows["n"].to_numpy().max())


def sizes(rows: pl.DataFrame) -> list[int]:
    """All n, in order."""
    return list(rows["n"].unique().sort())


def of_row(row: Mapping[str, Any]) -> Estimate:
    """A row's value with its interval."""
    return Estimate(row["value"], row["low"], row["high"], True, "")


def listed(sizes_: Sequence[int]) -> str:
    """`none`, or the sizes, runs of them by their ends."""
    if not sizes_:
        return "none"
    return f"{sizes_[0]:,}" if len(sizes_) == 1 else f"{sizes_[0]:,} … {sizes_[-1]:,} ({len(sizes_)} of them)"

"""Which rows of a table may be relied on, quantity by quantity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl


def verdict(table: pl.DataFrame, quantity: str) -> pl.Expr:
    """The column that says whether a quantity's value is reliable in each row.

    A table may have a verdict of its own for a quantity (`win_rate_reliable`); else `reliable` speaks of the whole row.
    A value that is not finite is never reliable.

    Args:
        quantity: `gain`, `kl`, `limit`, `efficiency`, `win_rate` or another column of numbers.
    """
    own = f"{quantity}_reliable"
    column = own if own in table.columns else "reliable" if "reliable" in table.columns else None
    said = pl.col(column).fill_null(False) if column else pl.lit(True)
    return said & pl.col(quantity).is_finite().fill_null(False)


def verdict_of(row: Mapping[str, Any], quantity: str) -> bool:
    """As `verdict`, of one row."""
    value = row.get(quantity)
    finite = isinstance(value, int | float) and float("-inf") < value < float("inf")
    return finite and bool(row.get(f"{quantity}_reliable", row.get("reliable", True)))

"""Sentences on what the distance of each trained policy from its optimum is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from alignment_limits.report.numbers import Estimate, interval, number

PARTS = ("generalisation", "expressibility", "objective", "optimisation")
HOW = {"theory": " (by theory)", "exact": " (exact)"}


def sentences(table: pl.DataFrame) -> list[str]:
    """One line for each policy: its distance from the tilt at its β, the parts that are known, and those that are not.

    Args:
        table: `policies/gap.parquet`.

    Returns:
        Lines in the order of the table, in base standard deviations.
    """
    lines = []
    for name in table["policy"].unique(maintain_order=True):
        rows = {row["part"]: row for row in table.filter(pl.col("policy") == name).iter_rows(named=True)}
        total = rows["total"]
        if not total["reliable"]:
            reason = total["reason"] or "it has no interval"
            lines.append(f"{name}: its distance from the tilt is not reliable ({reason}).")
            continue
        known = [f"{part} {_value(rows[part])}" for part in PARTS if rows[part]["basis"] != "unknown"]
        unknown = [part for part in PARTS if rows[part]["basis"] == "unknown"]
        said = f"{name}: {_value(total)} below the tilt at its β. Of this: {', '.join(known)}"
        said += f"{', ' if known else ''}rest {_value(rows['rest'])}."
        lines.append(said + (f" Unknown, and within the rest: {', '.join(unknown)}." if unknown else ""))
    return lines


def _value(row: Mapping[str, Any]) -> str:
    if row["basis"] in HOW:
        return number(row["value"]) + HOW[row["basis"]]
    return interval(Estimate(row["value"], row["low"], row["high"], True, ""))

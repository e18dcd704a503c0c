"""How the estimates of a study agree with what is known exactly, as a page of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from alignment_limits.report.numbers import number
from alignment_limits.report.pages.page import Cell, page, table, tag

ROUNDING = 1e-9  # of sums over all replies
_LEAD = (
    "All replies of this study's model are listed, so every quantity is also known exactly, as a sum over them. Exact "
    "values are given for the study's own prompts, and for all prompts of the source, which the study's are a sample "
    "of and which its 95% intervals speak of. Estimates of one study share their samples, so hits and misses come "
    "together: a few misses more or less than 5% mean nothing by themselves. Policies trained here were trained on the "
    "study's own prompts, and their intervals speak of those alone."
)
_POLICIES = (
    "Exact values on the study's own prompts. No policy can gain more than the limit at its own KL. The last column is "
    "how far below its own optimum a policy's training ended: 𝒥(π_β) − 𝒥(π), 𝒥 = E r − β KL at the coefficient it was "
    "trained with."
)
_NAMES = {"frontier": "frontier", "best_of_n": "best-of-n and relatives", "policies": "policies"}


def exact_page(study: str, tables: Mapping[str, pl.DataFrame], *, gold: str) -> str:
    """HTML of the tables of `exact/`."""
    body = [
        tag("h2", "How many intervals hold the exact value"),
        table(
            ["table", "quantity", "intervals", "hold it for the study's prompts", "for all prompts"],
            [row for name, values in tables.items() for row in _counts(_NAMES[name], values)],
        ),
    ]
    if "policies" in tables:
        rows = verdicts(tables["policies"]).sort(pl.col("evaluated") != gold, "policy", maintain_order=True)
        body += [
            tag("h2", "Policies and the exact limit"),
            tag("p", _POLICIES, "soft"),
            table(
                ["policy", "reward", "KL", "gain", "limit", "below the limit", "optimality gap", "below its optimum"],
                [_policy(row) for row in rows.iter_rows(named=True)],
            ),
        ]
    return page(f"Estimates beside exact values: {study}", body, _LEAD)


def verdicts(policies: pl.DataFrame) -> pl.DataFrame:
    """One row for each policy and reward: exact and estimated values, and whether it is `below` the exact limit."""
    keys = ["policy", "optimized", "evaluated"]
    quantities = ["kl", "gain", "limit", "optimality_gap", "regret"]
    wide = policies.select(keys).unique(maintain_order=True)
    for name in quantities:
        values = policies.filter(pl.col("quantity") == name)
        wide = wide.join(
            values.select(*keys, pl.col("exact").alias(name), pl.col("estimate").alias(f"{name}_estimate")),
            on=keys,
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
    return wide.with_columns(below=pl.col("gain") <= pl.col("limit") + ROUNDING)


def _counts(name: str, values: pl.DataFrame) -> list[list[str | Cell]]:
    told = values.filter(pl.col("holds_exact").is_not_null())
    grouped = told.group_by("quantity", maintain_order=True).agg(
        pl.len(), pl.col("holds_exact").sum(), pl.col("holds_population").sum()
    )
    return [
        [name, q.replace("_", " "), str(n), f"{own} ({own / n:.0%})", f"{everywhere} ({everywhere / n:.0%})"]
        for q, n, own, everywhere in grouped.iter_rows()
    ]


def _policy(row: Mapping[str, Any]) -> list[str | Cell]:
    def both(name: str) -> Cell:
        return Cell(number(row[name]), f"estimated {number(row[f'{name}_estimate'])}")

    regret = "" if row["regret"] is None else number(row["regret"])
    gap, verdict = both("optimality_gap"), "yes" if row["below"] else "no"
    return [row["policy"], row["evaluated"], both("kl"), both("gain"), both("limit"), verdict, gap, regret]

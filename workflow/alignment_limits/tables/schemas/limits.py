"""Contracts of policies and of the report's numbers, and what a contract of an estimator's result consists of.

The estimators' contracts are in `tables/estimates.py`. Types and further columns are those of the results of `limits`.
A contract lists the public columns, in order. The result's other columns follow them. A new column is a new field of
the result and needs no change here.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from alignment_limits.ensembles.scores import Columns
from alignment_limits.tables.artifacts import Schema


def contract(name: str, result: type[Columns], public: str, verdicts: Mapping[str, Any], **labels: Any) -> Schema:
    """The contract of a table of a result of `limits`.

    Args:
        name: of the table, for messages.
        result: its class.
        public: the columns whose order is fixed.
        verdicts: columns of verdicts, with the columns that they are about.
        labels: columns that are not from the result, and their types.
    """
    known = result.polars_schema() | labels
    return Schema(name, {column: known[column] for column in public.split()} | known, verdicts)


def with_interval(name: str) -> tuple[str, str, str]:
    """A quantity's column and those of its interval."""
    return name, f"{name}_low", f"{name}_high"


def own_verdicts(*names: str) -> dict[str, tuple[str, ...]]:
    """Columns of verdicts for quantities that have their own."""
    return {f"{name}_reliable": with_interval(name) for name in names}


# Policies compared with the limit: the columns of policies/placement.py (Placement), with labels.
POLICIES = Schema(
    "policies",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "kl": pl.Float64,
        "kl_low": pl.Float64,
        "kl_high": pl.Float64,
        "kl_estimator": pl.String,
        "evaluated": pl.String,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "limit": pl.Float64,
        "efficiency": pl.Float64,
        "reliable": pl.Boolean,  # of the row, as of its efficiency
        "limit_reliable": pl.Boolean,
        "efficiency_reliable": pl.Boolean,
        "gain_reliable": pl.Boolean,
        "win_rate_reliable": pl.Boolean,
        "kl_reliable": pl.Boolean,
        "limit_from": pl.String,  # base: the limit is from the base's samples; pool: also from the policy's
    },
    verdicts={
        "reliable": ("limit",),
        "limit_reliable": ("limit",),
        "efficiency_reliable": with_interval("efficiency"),
        **own_verdicts("gain", "win_rate", "kl"),
    },
)

# The numbers of the report.
HEADLINE = Schema(
    "headline",
    {
        "group": pl.String,
        "subject": pl.String,
        "quantity": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "unit": pl.String,
        "reliable": pl.Boolean,
        "note": pl.String,
        "at_least": pl.Float64,  # bounds of a limit, also where it is not reliable
        "at_most": pl.Float64,
    },
)

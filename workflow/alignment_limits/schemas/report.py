"""The numbers of the report."""

import polars as pl

from alignment_limits.artifacts import Schema

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
    },
)

"""Features of replies, which all trained heads share."""

import polars as pl

from alignment_limits.artifacts import Schema

FEATURES = Schema(
    "features",
    {"prompt_id": pl.String, "sample_id": pl.Int32, "features": pl.List(pl.Float32), "truncated": pl.Boolean},
)

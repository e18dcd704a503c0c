"""Rewards on one scale."""

import polars as pl

from alignment_limits.artifacts import Schema

SCALES = Schema(
    "scales",
    {"reward": pl.String, "prompt_id": pl.String, "centre": pl.Float64, "scale": pl.Float64},
)
STANDARDISED = Schema(
    "standardised",
    {"prompt_id": pl.String, "sample_id": pl.Int32},
)

"""Scores of one reward."""

import polars as pl

from alignment_limits.artifacts import Schema

SCORES = Schema(
    "scores",
    {"prompt_id": pl.String, "sample_id": pl.Int32, "score": pl.Float64, "truncated": pl.Boolean},
)

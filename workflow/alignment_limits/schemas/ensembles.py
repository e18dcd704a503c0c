"""Rewards on one scale."""

import polars as pl

from alignment_limits.artifacts import Schema

SCALES = Schema(
    "scales",
    {"reward": pl.String, "prompt_id": pl.String, "centre": pl.Float64, "scale": pl.Float64},
)
CLUSTERS = Schema(  # which prompts are not independent: those with the same text here; null: independent of all others
    "clusters",
    {"prompt_id": pl.String, "cluster": pl.String},
)
PROMPT_IDS = Schema("prompts", {"prompt_id": pl.String})  # of a table of prompts or of their clusters
STANDARDISED = Schema(
    "standardised",
    {"prompt_id": pl.String, "sample_id": pl.Int32},
)

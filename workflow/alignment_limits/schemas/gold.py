"""How rewards judge experts' replies: single scores, and the shares that make one fit to be gold."""

import polars as pl

from alignment_limits.artifacts import Schema

TRIALS = Schema("trials", {"prompt_id": pl.String, "role": pl.String, "score": pl.Float64})
GOLD = Schema(
    "gold",
    {
        "reward": pl.String,
        "beside": pl.String,
        "documents": pl.Int64,
        "above_samples": pl.Float64,
        "above_samples_low": pl.Float64,
        "above_samples_high": pl.Float64,
        "above_other": pl.Float64,
        "above_other_low": pl.Float64,
        "above_other_high": pl.Float64,
        "fit": pl.Boolean,
        "spearman": pl.Float64,
        "spearman_low": pl.Float64,
        "spearman_high": pl.Float64,
    },
)

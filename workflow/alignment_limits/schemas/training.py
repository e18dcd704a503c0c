"""Training curves: what each batch of replies was like, drawn before the step that it trained."""

import polars as pl

from alignment_limits.artifacts import Schema

CURVES = Schema(
    "curves",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "step": pl.Int32,
        "reward": pl.Float64,
        "kl": pl.Float64,
        "kl_log_ratio": pl.Float64,
        "length": pl.Float64,
        "entropy": pl.Float64,
        "loss": pl.Float64,
    },
)

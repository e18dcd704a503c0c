"""Policies: the KL of each of their replies, and where they stand."""

import polars as pl

from alignment_limits.artifacts import Schema

POLICY_KL = Schema(
    "policy_kl",
    {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "kl": pl.Float64,
        "log_ratio": pl.Float64,
        "logprob": pl.Float64,
        "logprob_base": pl.Float64,
    },
)
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
        "reliable": pl.Boolean,  # of the limit, and so of what is read off it
        "gain_reliable": pl.Boolean,
        "win_rate_reliable": pl.Boolean,
        "kl_reliable": pl.Boolean,
    },
    verdicts={
        "reliable": ("limit",),
        **{f"{name}_reliable": (name, f"{name}_low", f"{name}_high") for name in ("gain", "win_rate", "kl")},
    },
)

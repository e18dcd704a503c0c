"""Replies of a model, and what they look like prompt by prompt."""

import polars as pl

from alignment_limits.artifacts import Schema

SAMPLES = Schema(
    "samples",
    {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "text": pl.String,
        "token_ids": pl.List(pl.Int32),
        "n_tokens": pl.Int32,
        "logprob": pl.Float64,
        "finish_reason": pl.String,
        "seed": pl.Int64,
    },
)
SAMPLES_SUMMARY = Schema(
    "samples_summary",
    {
        "prompt_id": pl.String,
        "n_samples": pl.Int32,
        "truncation_rate": pl.Float64,
        "distinct_share": pl.Float64,
        "mean_tokens": pl.Float64,
        "mean_logprob": pl.Float64,
        "unknown_share": pl.Float64,
    },
)
READ_AGAIN = Schema(
    "read_again",
    {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "n_tokens": pl.Int32,
        "logprob": pl.Float64,
        "logprob_read": pl.Float64,
    },
)

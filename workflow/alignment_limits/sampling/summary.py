"""What a study's samples look like, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from alignment_limits.artifacts import read_tables
from alignment_limits.schemas.samples import SAMPLES


def summarise(shards: Sequence[str]) -> pl.DataFrame:
    """Per prompt: number of samples, rates and means (the table `samples_summary`).

    truncation_rate is the share of replies cut at max_new_tokens, distinct_share the share of different
    texts, mean_logprob in nats per reply.
    """
    return (
        read_tables(shards, SAMPLES)
        .group_by("prompt_id")
        .agg(
            n_samples=pl.len().cast(pl.Int32),
            truncation_rate=(pl.col("finish_reason") == "length").mean(),
            distinct_share=pl.col("text").n_unique() / pl.len(),
            mean_tokens=pl.col("n_tokens").mean(),
            mean_logprob=pl.col("logprob").mean(),
        )
        .sort("prompt_id")
    )

"""What a study's samples look like, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from alignment_limits.artifacts import read_tables
from alignment_limits.schemas.samples import SAMPLES


def summarise(shards: Sequence[str]) -> pl.DataFrame:
    """Per prompt: number of samples, rates and means (the table `samples_summary`).

    truncation_rate is the share of replies cut at max_new_tokens, distinct_share the share of different
    texts, mean_logprob in nats per reply; unknown_share is the share of sampled tokens that the tokenizer does not
    know and that have no text: what a checkpoint's padded rows are given (null where the shards do not say).
    """
    samples = read_tables(shards, SAMPLES)
    if "n_unknown" not in samples.columns:
        samples = samples.with_columns(n_unknown=pl.lit(None, pl.Int64))
    counted = pl.col("n_unknown").is_not_null().any()
    return (
        samples.group_by("prompt_id")
        .agg(
            n_samples=pl.len().cast(pl.Int32),
            truncation_rate=(pl.col("finish_reason") == "length").mean(),
            distinct_share=pl.col("text").n_unique() / pl.len(),
            mean_tokens=pl.col("n_tokens").mean(),
            mean_logprob=pl.col("logprob").mean(),
            unknown_share=pl.when(counted).then(pl.col("n_unknown").sum() / pl.col("n_tokens").sum()),
        )
        .sort("prompt_id")
    )

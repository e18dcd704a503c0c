"""Summary of a study's samples, and the difference between two engines on the same replies.

The engine that drew a reply and the one that reads it compute its log-probability under the same law. They differ by
rounding, a random walk over the reply's tokens. So the allowed difference grows with the root of the number of tokens:

    |log p(engine) − log p(reader)| ≤ bound · √tokens.

The bounds are our choice. In float32 rounding is 10⁻⁵ nats per √token. The smallest fault that we have met (a
repetition penalty that entered the sampling) is 2·10⁻². The bound 2·10⁻³ is ten times below this fault and a hundred
times above rounding. Replies drawn in 16 bits are read in float32. Their rounding is part of the law that was
sampled, so only large faults can be detected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from alignment_limits.errors import SamplingError
from alignment_limits.tables.artifacts import read_tables
from alignment_limits.tables.schemas.samples import SAMPLES


def summarise(shards: Sequence[str]) -> pl.DataFrame:
    """Number of samples, rates and means of each prompt (the table `samples_summary`).

    truncation_rate is the share of replies cut at max_new_tokens. distinct_share is the share of different texts.
    mean_logprob is in nats per reply. unknown_share is the share of sampled tokens that the tokenizer does not know,
    such as a checkpoint's padding rows; they have no text (null where the shards do not have this number).
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


BOUND = {"float32": 2e-3, "float16": 0.1, "bfloat16": 0.5}  # nats per √token, by the precision of sampling
# allowed share of replies with a token outside the reader's top-p nucleus: rounding moves its edge
OUTSIDE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.5}


@dataclass(frozen=True)
class Deviation:
    """Over n replies: the largest |difference| in nats, the largest in nats per √token, and the mean difference.

    The mean of log p(engine) − log p(reader) over the engine's own replies estimates KL(engine ‖ reader). outside : the
    share of replies with probability 0 under the reader, possible only with a top-p below 1; the other numbers omit
    them.
    """

    replies: int
    largest: float
    largest_per_root_token: float
    mean: float
    outside: float


def deviation(drawn: ArrayLike, read: ArrayLike, n_tokens: ArrayLike) -> Deviation:
    """Compare the log-probabilities [n] of the engine that drew replies with those of one that reads them.

    Args:
        drawn, read: nats per reply [n]. n_tokens: of each reply [n].
    """
    apart = np.asarray(drawn, dtype=np.float64) - np.asarray(read, dtype=np.float64)
    tokens = np.maximum(np.asarray(n_tokens, dtype=np.float64), 1)
    inside = ~np.isposinf(apart)
    apart, tokens = np.where(np.isnan(apart), np.inf, apart)[inside], tokens[inside]
    if not len(apart):
        return Deviation(len(inside), np.inf, np.inf, np.inf, 1.0)
    each = np.abs(apart) / np.sqrt(tokens)
    outside = (len(inside) - len(apart)) / len(inside)
    return Deviation(len(inside), float(np.abs(apart).max()), float(each.max()), float(apart.mean()), outside)


def check_deviation(found: Deviation, dtype: str, whose: str) -> None:
    """Raise an error if two engines differ by more than rounding.

    Args:
        dtype: the precision of sampling. whose: the model that drew the replies, for the message.

    Raises:
        SamplingError: they differ; every KL and gain would belong to another law than the sampled one.
    """
    remedy = (
        "so one of them does not compute what the model's configuration says; set sampling.engine to the other engine "
        "(vllm, transformers) or model.dtype to float32, and report the model"
    )
    if not found.largest_per_root_token <= BOUND[dtype]:
        raise SamplingError(
            f"{whose}: the engine that drew the replies and a plain forward pass differ by up to {found.largest:.2g} "
            f"nats on a reply ({found.largest_per_root_token:.2g} per root of its tokens; rounding in {dtype} is below "
            f"{BOUND[dtype]:g}), {remedy}"
        )
    if found.outside > OUTSIDE[dtype]:
        raise SamplingError(
            f"{whose}: {found.outside:.0%} of the replies contain a token that a plain forward pass leaves out of its "
            f"top-p nucleus, {remedy}"
        )

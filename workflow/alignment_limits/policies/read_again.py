"""A few replies of a shard, read by a plain forward pass in float32."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from alignment_limits.models.load import device_of_job
from alignment_limits.models.split_model import load_split
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.next_token import SamplingLaw
from alignment_limits.policies.sequence_kl import sequence_kl
from alignment_limits.sampling import tokens

REPLIES = 64


def read_again(
    samples: pl.DataFrame,
    prompts: pl.DataFrame,
    folder: Path,
    law: SamplingLaw,
    *,
    template: str,
    trust_remote_code: bool = False,
    replies: int = REPLIES,
) -> pl.DataFrame:
    """The table `read_again`: of replies spread evenly over a shard, both log-probabilities.

    Args:
        samples, prompts: tables of a shard. folder: of the model that drew it.
        law: by which it was drawn. template: of the prompts. replies: at most so many.
    """
    few = samples.gather_every(max(1, samples.height // replies)).head(replies)
    texts = dict(prompts.select("prompt_id", "text").iter_rows())
    tokenizer = load_tokenizer(folder, trust_remote_code)
    sent = tokens.encode([texts[name] for name in few["prompt_id"]], tokenizer, template)
    model = load_split(folder, device=device_of_job(), trust_remote_code=trust_remote_code)
    read = sequence_kl(model, model, sent, few["token_ids"].to_list(), law).logprob
    return few.select("prompt_id", "sample_id", "n_tokens", "logprob").with_columns(logprob_read=pl.Series(read))

"""Every reply to every prompt as a table, with its exact log-probability under each of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from alignment_limits.enumerable.replies import Replies, check_tree, reply_logprobs
from alignment_limits.errors import SamplingError
from alignment_limits.limits.arrays import Array
from alignment_limits.policies.next_token import SamplingLaw
from alignment_limits.sampling import tokens

WHOLE = 1e-9  # how far the probabilities of all replies may be from 1


def load_exact(folder: Path, trust_remote_code: bool = False) -> Any:
    """A plain model folder in float64: sums over all replies are then exact to rounding."""
    from alignment_limits.models.causal import load_causal

    return load_causal(folder, dtype=torch.float64, trust_remote_code=trust_remote_code)


def replies_of(model: Any, stop: Sequence[int], longest: int) -> Replies:
    """All replies of a model that are cut at `longest` tokens."""
    return Replies.of(int(model.get_output_embeddings().weight.shape[0]), stop, longest)


def exact_logprobs(model: Any, sent: Sequence[Sequence[int]], replies: Replies, law: SamplingLaw) -> Array:
    """log π(y|x) of every reply [p, R], float64; checked to be whole laws.

    Raises:
        SamplingError: the model cannot be read as a tree of replies.
    """
    check_tree(model, sent[0], replies)
    with torch.inference_mode():
        logp: Array = reply_logprobs(model, sent, replies, law).numpy()
    off = float(np.abs(np.exp(logp).sum(axis=1) - 1).max())
    if off > WHOLE:
        raise SamplingError(f"the probabilities of all replies sum to 1 ± {off:.1g}: not all are listed")
    return logp


def listed(
    prompts: pl.DataFrame,
    replies: Replies,
    logprobs: Mapping[str, Array],
    tokenizer: Any,
    stop: Sequence[int],
    template: str = "none",
) -> pl.DataFrame:
    """The table `samples` of all replies (a reply's number is its sample_id), with one column for each law.

    Args:
        prompts: table `prompts`. logprobs: of every reply [p, R], by column; `logprob` is the base's.
    """
    texts = tokens.decode([list(r) for r in replies.tokens], tokenizer, stop, template)
    one = pl.DataFrame(
        {
            "sample_id": range(len(replies)),
            "text": texts,
            "token_ids": [list(r) for r in replies.tokens],
            "n_tokens": [len(r) for r in replies.tokens],
            "finish_reason": ["stop" if r[-1] in stop else "length" for r in replies.tokens],
            "seed": 0,
        }
    )
    every = prompts.select("prompt_id").join(one, how="cross", maintain_order="left_right")
    return every.with_columns(pl.Series(name, values.ravel()) for name, values in logprobs.items())

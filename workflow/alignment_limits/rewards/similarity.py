"""Cosine similarity of a reply to the texts beside it (an expert's reference, the document), one a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alignment_limits.rewards.base import ItemReward, Scores, distinct_items, pairs


def load(
    folder: Path | None, *, device: str, text: str, sign: int, static: Mapping[str, Any] | None = None
) -> ItemReward:
    """A reward in cosine units, [−1, 1]: the mean cosine of the reply to each line beside it; `text` is not used.

    Args:
        static: `weights` and `tokenizer` of static embeddings; None: a mean-pooled transformers encoder.

    Raises:
        RewardError: a file is missing or no such encoder.
    """
    if static is not None:
        from alignment_limits.rewards.static_embedding import load_static_encoder

        encode = load_static_encoder(folder, **static)
    else:
        from alignment_limits.rewards.embedding import load_encoder

        encode = load_encoder(folder, device)

    def score_pairs(items: list[tuple[str, str]]) -> Scores:
        lines = [beside.split("\n") for beside, _ in items]
        count = np.array([len(one) for one in lines])
        flat = [line for one in lines for line in one]
        texts, where = distinct_items([*flat, *(reply for _, reply in items)])
        vectors, truncated = encode(texts)
        owner = np.repeat(np.arange(len(items)), count)
        of_line, of_reply = where[: len(flat)], where[len(flat) :]
        cosine = np.einsum("ij,ij->i", vectors[of_line], vectors[of_reply][owner])
        score = np.bincount(owner, cosine) / count
        cut = truncated[of_reply] | (np.bincount(owner, truncated[of_line]) > 0)
        return Scores(score, cut)

    return ItemReward(pairs, score_pairs, sign)

"""A linear head on an encoder's features, as a reward that scores any reply."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment_limits.rewards.base import ItemReward, Scores, text_reward
from alignment_limits.rewards.embedding import Encoder


def trained_head(
    encode: Encoder, weight: NDArray[np.float64], bias: float = 0.0, *, text: str, sign: int = 1
) -> ItemReward:
    """features · weight + bias; a text that comes again is not encoded again.

    Args:
        encode: texts → features [n, d]. weight: [d]. text: what the encoder reads, reply or prompt+reply.
    """
    known: dict[str, tuple[float, bool]] = {}

    def score_texts(texts: list[str]) -> Scores:
        new = [text for text in texts if text not in known]
        if new:
            features, truncated = encode(new)
            scores = (features @ weight + bias).tolist()
            known.update(zip(new, zip(scores, truncated.tolist(), strict=True), strict=True))
        score, cut = zip(*(known[text] for text in texts), strict=True)
        return Scores(np.array(score), np.array(cut))

    return text_reward(text, sign, score_texts)

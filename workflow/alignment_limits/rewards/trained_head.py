"""A linear head on an encoder's features, as a reward that scores any reply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alignment_limits.rewards.base import ItemReward, Scores, text_reward
from alignment_limits.rewards.embedding import Encoder, load_encoder
from alignment_limits.rewards.heads import read_head


def load_head(encoder: Path, head: Path, *, device: str, text: str, sign: int) -> ItemReward:
    """The reward of a head that a study trained, from its encoder's folder and its file.

    Raises:
        RewardError: the folder is not a mean-pooled transformers encoder.
    """
    fitted = read_head(head)
    encode = load_encoder(encoder, device, "left" if text == "prompt+reply" else "right")
    return trained_head(encode, fitted["weight"], float(fitted["bias"][0]), text=text, sign=sign)


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

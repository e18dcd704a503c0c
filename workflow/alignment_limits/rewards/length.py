"""The number of words: with sign −1 a reward for brevity, the plainest of wrong rewards."""

from __future__ import annotations

from pathlib import Path

from alignment_limits.rewards.base import ItemReward, Scores, text_reward, untruncated


def load(folder: Path | None, *, device: str, text: str, sign: int) -> ItemReward:
    """A reward in words (separated by white space)."""

    def score_texts(texts: list[str]) -> Scores:
        return untruncated([len(t.split()) for t in texts])

    return text_reward(text, sign, score_texts)

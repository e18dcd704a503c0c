"""ROUGE (Lin 2004) of a reply against the text beside it: shared n-grams, or the longest common subsequence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from alignment_limits.rewards.base import ItemReward, Scores, pairs, untruncated

_WORD = re.compile(r"[a-z0-9]+")


def load(folder: Path | None, *, device: str, text: str, sign: int, measure: str, part: str) -> ItemReward:
    """A reward in [0, 1]; `text` is not used. Lines beside the reply count as one text.

    Args:
        measure: 'rouge-1', 'rouge-2' or 'rouge-l'.
        part: 'precision' (share of the reply), 'recall' (share of the text beside it) or 'f1'.
    """

    def score_pairs(items: list[tuple[str, str]]) -> Scores:
        return untruncated([rouge(reply, beside, measure, part) for beside, reply in items])

    return ItemReward(pairs, score_pairs, sign, flat=True)


def rouge(reply: str, reference: str, measure: str, part: str) -> float:
    """ROUGE of lower-cased words without stemming; 0 where either text has no word (or too few for an n-gram)."""
    ours, theirs = _WORD.findall(reply.lower()), _WORD.findall(reference.lower())
    if measure == "rouge-l":
        shared, mine, its = _longest_common(ours, theirs), len(ours), len(theirs)
    else:
        n = int(measure[-1])
        a, b = _ngrams(ours, n), _ngrams(theirs, n)
        shared, mine, its = (a & b).total(), a.total(), b.total()
    if not shared:
        return 0.0
    precision, recall = shared / mine, shared / its
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}[part]


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]

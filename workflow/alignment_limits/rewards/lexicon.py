"""Word-list rewards: VADER's compound sentiment, or minus the share of listed words."""

from __future__ import annotations

import re
from pathlib import Path

from alignment_limits.errors import RewardError, TableError
from alignment_limits.rewards.base import ItemReward, Scores, text_reward, untruncated
from alignment_limits.tables.user_table import read_lines


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    lexicon: str,
) -> ItemReward:
    """`vader`: compound sentiment in [−1, 1]; `words`: minus listed words per word, in [−1, 0].

    Raises:
        RewardError: the word list is missing, empty or not UTF-8.
    """
    if lexicon == "vader":
        return _vader(text, sign)
    return _words(_only_file(folder), text, sign)


def _vader(text: str, sign: int) -> ItemReward:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # only here: it imports `requests`

    analyzer = SentimentIntensityAnalyzer()

    def score_texts(texts: list[str]) -> Scores:
        return untruncated([analyzer.polarity_scores(t)["compound"] for t in texts])

    return text_reward(text, sign, score_texts, flat=True)


def _words(path: Path, text: str, sign: int) -> ItemReward:
    try:
        lines = read_lines(path)
    except TableError as error:
        raise RewardError(f"the word list {error}") from error
    entries = {line.strip().lower() for line in lines if line.strip() and not line.startswith("#")}
    if not entries:
        raise RewardError(f"{path} lists no word; give one word or phrase a line")
    # Longest first, so that a phrase is counted whole; \w guards instead of \b, for entries such as 'a$$'.
    alternatives = "|".join(re.escape(e) for e in sorted(entries, key=lambda e: (-len(e), e)))
    listed = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")

    def badness(t: str) -> float:
        lowered = t.lower()
        hits = sum(len(hit.split()) for hit in listed.findall(lowered))
        return hits / max(1, len(lowered.split()))

    def score_texts(texts: list[str]) -> Scores:
        return untruncated([-badness(t) for t in texts])

    return text_reward(text, sign, score_texts, flat=True)


def _only_file(folder: Path | None) -> Path:
    """The list; hidden files are no part of a source (Snakemake keeps a timestamp in folders it made)."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != ".") if folder is not None else []
    if len(files) != 1:
        raise RewardError(
            f"{folder}: a word list needs one text file, found {len(files)}; name it as the source's member"
        )
    return files[0]

"""Word-list rewards."""

import numpy as np
import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward

WORDS = {"kind": "lexicon", "lexicon": "words", "text": "reply", "sign": 1}
VADER = {"kind": "lexicon", "lexicon": "vader", "text": "reply", "sign": 1}


def _score(folder, *texts: str) -> list[float]:
    return load_reward(WORDS, folder).score([""] * len(texts), list(texts)).score.tolist()


def test_word_list_counts_listed_words_per_word(tmp_path):
    (tmp_path / "list.txt").write_text("# comment\nidiot\nShut Up\nup\ncr@p\n\n", "utf-8")
    (tmp_path / ".snakemake_timestamp").touch()
    scores = _score(tmp_path, "You IDIOT!", "shut up now please", "idiotic cr@p", "", "all is well")
    np.testing.assert_allclose(scores, [-1 / 2, -2 / 4, -1 / 2, 0, 0])


def test_vader_is_its_compound_sentiment():
    texts = ["You are wonderful.", "You are a horrible liar!", ""]
    expected = [SentimentIntensityAnalyzer().polarity_scores(t)["compound"] for t in texts]
    scores = load_reward(VADER, None).score([""] * 3, texts).score
    assert scores.tolist() == expected
    assert scores[0] > 0.5 > -0.5 > scores[1]


def test_unusable_word_lists_are_refused(tmp_path):
    with pytest.raises(RewardError, match="needs one text file, found 0"):
        _score(tmp_path, "x")
    (tmp_path / "list.txt").write_text("# nothing\n", "utf-8")
    with pytest.raises(RewardError, match="lists no word"):
        _score(tmp_path, "x")
    (tmp_path / "list.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(RewardError, match=r"is not UTF-8 \(byte 3\)"):
        _score(tmp_path, "x")

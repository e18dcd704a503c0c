"""Sums of rewards, of tables and of models."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ArtifactError
from alignment_limits.rewards.base import text_reward, untruncated
from alignment_limits.rewards.load import ReadBeside, SumOfRewards, sum_of_scores


def table(scores, truncated=(False, False, False)):
    return pl.DataFrame(
        {"prompt_id": ["a", "a", "b"], "sample_id": [0, 1, 0], "score": scores, "truncated": list(truncated)}
    )


def test_scores_are_weighed_and_added():
    tables = {"x": table([1.0, 2.0, 3.0], (True, False, False)), "y": table([10.0, 0.0, -10.0], (False, False, True))}
    made = sum_of_scores(tables, {"x": 2, "y": -0.5})
    assert made["score"].to_list() == [-3, 4, 11]
    assert made["truncated"].to_list() == [True, False, True]
    assert made.columns == tables["x"].columns


def test_scores_of_other_replies_are_not_added():
    other = table([1.0, 2.0, 3.0]).with_columns(sample_id=pl.Series([0, 2, 0]))
    with pytest.raises(ArtifactError, match=r"y has scores of other replies \(3\) than x \(3\)"):
        sum_of_scores({"x": table([1.0, 2.0, 3.0]), "y": other}, {"x": 1, "y": 1})


def test_a_sum_of_models_is_the_sum_of_what_each_reads():
    length = text_reward("reply", 1, lambda texts: untruncated([float(len(t)) for t in texts]))
    both = text_reward("prompt+reply", 1, lambda texts: untruncated([float(len(t)) for t in texts]))
    whole = SumOfRewards([(2.0, length), (-1.0, ReadBeside(both, {"p": "the document", "q": "another"}))])
    replies = ["ab", "abc", "a"]
    scores = whole.score(["p", "q", "p"], replies)
    expected = [
        2 * len(r) - len(d + r) for r, d in zip(replies, ["the document", "another", "the document"], strict=True)
    ]
    np.testing.assert_array_equal(scores.score, expected)
    assert not scores.truncated.any()

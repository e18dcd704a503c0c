"""The interface all rewards share: order, sign, distinct items, finite scores, lazy imports."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Prompt, Scores, after_thinking, log_odds, text_reward, untruncated
from alignment_limits.rewards.load import load_reward, module_of, read_beside, thinking, with_rows
from alignment_limits.rewards.preflight import load_and_preflight
from alignment_limits.study.rewards import Length, Trained


def _lengths(seen: list[list[str]]) -> ItemReward:
    def score_texts(texts: list[str]) -> Scores:
        seen.append(texts)
        return Scores(np.array([float(len(t)) for t in texts]), np.array([len(t) > 3 for t in texts]))

    return text_reward("reply", 1, score_texts)


def test_each_distinct_text_is_scored_once_and_order_is_kept():
    seen: list[list[str]] = []
    scores = _lengths(seen).score(["p", "q", "p", "r"], ["bbbb", "a", "bbbb", "cc"])
    assert seen == [["bbbb", "a", "cc"]]
    np.testing.assert_array_equal(scores.score, [4, 1, 4, 2])
    np.testing.assert_array_equal(scores.truncated, [True, False, True, False])
    assert scores.score.dtype == np.float64


def test_sign_is_applied_and_leaves_no_negative_zero():
    reward = text_reward("reply", -1, lambda texts: untruncated([float(len(t)) for t in texts]))
    score = reward.score(["p", "p"], ["ab", ""]).score
    np.testing.assert_array_equal(score, [-2, 0])
    assert not np.signbit(score[1])


def test_prompt_and_reply_are_joined_as_the_language_model_saw_them():
    seen: list[str] = []
    reward = text_reward("prompt+reply", 1, lambda texts: (seen.extend(texts), untruncated([0.0] * len(texts)))[1])
    reward.score(["Once upon"], [" a time"])
    assert seen == ["Once upon a time"]


def test_no_texts_give_no_scores():
    scores = _lengths([]).score([], [])
    assert scores.score.shape == scores.truncated.shape == (0,)
    assert scores.score.dtype == np.float64


def test_unequal_numbers_of_prompts_and_replies_are_refused():
    with pytest.raises(RewardError, match="2 prompts but 1 replies"):
        _lengths([]).score(["p", "q"], ["r"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_place(bad):
    reward = text_reward("reply", 1, lambda texts: untruncated([bad if t == "x" else 0.0 for t in texts]))
    with pytest.raises(RewardError, match="1 of 3 scores are NaN or infinite, the first for text number 2"):
        reward.score(["p"] * 3, ["a", "b", "x"])


def test_log_odds_are_the_logit_and_stay_finite_at_zero_and_one():
    p = np.array([0.25, 0.0, 1.0])
    odds = log_odds(p)
    assert odds[0] == pytest.approx(np.log(0.25 / 0.75), rel=1e-15)
    assert np.isfinite(odds).all()
    assert odds[2] == -odds[1] > 30


def test_modules_of_kinds():
    assert module_of("lexicon") == "alignment_limits.rewards.words"
    assert module_of("python", "my.rewards:brevity") == "my.rewards"
    with pytest.raises(RewardError, match="no reward of kind 'magic'; there are: keras-bilstm"):
        module_of("magic")


def test_a_missing_source_folder_is_named(tmp_path):
    spec = {"kind": "lexicon", "lexicon": "words", "text": "reply", "sign": 1}
    with pytest.raises(RewardError, match="nowhere does not exist; run the rule"):
        load_reward(spec, tmp_path / "nowhere")


def test_loading_a_lexicon_imports_no_model_package():
    code = (
        "import sys; from alignment_limits.rewards.load import load_reward; "
        "import alignment_limits.rewards.preflight; "
        "load_reward({'kind': 'lexicon', 'lexicon': 'vader', 'text': 'reply', 'sign': 1, 'note': ''}, None); "
        "print([m for m in ('torch', 'transformers', 'sklearn', 'onnxruntime', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


THOUGHTS = {
    "<think>one two</think>\n\nthree": "three",
    "one</think> two </think>three four": "three four",  # the template has opened the thinking
    "<think>one two": None,
    "one two": "one two",
    "</think>": "",
}


def test_a_reward_reads_what_follows_the_thinking_and_nothing_of_unfinished_thinking():
    assert [after_thinking("", reply) for reply in THOUGHTS] == list(THOUGHTS.values())
    opened = Prompt("Why?", {}, thinks=True)
    assert [after_thinking(opened, reply) for reply in THOUGHTS] == ["three", "three four", None, None, ""]
    spec = {"kind": "length", "text": "reply", "sign": 1}
    replies = list(THOUGHTS)
    assert load_reward(spec, None).score(["p"] * 5, replies).score.tolist() == [3, 4, 2, 2, 1]
    seen = load_reward(spec | {"reply": "after-thinking"}, None)
    assert seen.score(["p"] * 5, replies).score.tolist() == [1, 2, 0, 2, 0]
    assert seen.score([opened] * 5, replies).score.tolist() == [1, 2, 0, 0, 0]
    assert thinking(["p"] * 5, replies) == {"thought": 0.6, "unfinished_thinking": 0.2}
    assert thinking([opened] * 5, replies) == {"thought": 0.6, "unfinished_thinking": 0.4}


def test_prompts_whose_template_opens_the_thinking_are_known_also_in_training():
    text = ["<user>Why?<bot><think>\n", "<user>How?<bot>"]
    prompts = pl.DataFrame({"prompt_id": ["a", "b"], "text": text, "prompt": ["Why?", "How?"]})
    spec = Length(kind="length", reply="after-thinking").model_dump()
    read = read_beside(spec, prompts)
    assert [read[name].thinks for name in "ab"] == [True, False]
    trained_on = with_rows(load_reward(spec, None), spec, prompts)
    assert trained_on.score(["Why?", "How?"], ["one two"] * 2).score.tolist() == [0, 2]
    assert load_and_preflight(spec, None, "l", prompts=read)["spread"] > 0, "the probes are read as finished replies"


def test_the_choice_counts_among_the_settings_only_where_it_is_made():
    assert "reply" not in Length(kind="length", reply="all").model_dump()
    assert Length(kind="length", reply="after-thinking").model_dump(exclude={"note"})["reply"] == "after-thinking"
    with pytest.raises(ValidationError, match="trained on labels reads complete replies"):
        Trained(kind="trained", labels=8, features={"path": "."}, reply="after-thinking")

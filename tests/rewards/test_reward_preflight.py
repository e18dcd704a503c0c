"""The preflight lets good rewards pass and stops each listed defect, naming the reward."""

import json
import time
from typing import ClassVar

import numpy as np
import pytest
from tiny_rewards import LLAMA

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import Prompt, Scores, untruncated
from alignment_limits.rewards.load import load_reward
from alignment_limits.rewards.preflight import PROBES, load_and_preflight, preflight, warnings_of

VADER = {"kind": "lexicon", "lexicon": "vader", "text": "reply", "sign": 1}


class Fake:
    """A reward from a function of the list of replies."""

    def __init__(self, function):
        self.function = function

    def score(self, prompts, replies):
        return untruncated(self.function(replies))


def test_a_sound_reward_passes_with_its_figures():
    figures = load_and_preflight(VADER, None, "vader")
    assert figures["reward"] == "vader"
    assert figures["probes"] == len(PROBES)
    assert figures["max_batch_deviation"] == 0
    assert figures["lowest"] < 0 < figures["highest"]
    assert figures["spread"] > 0.1
    assert 0 < figures["ms_per_text"] < 100
    json.dumps(figures)


def test_sound_transformers_pass_quickly(make_classifier, encoder_folder):
    start = time.process_time()
    spec = {"kind": "sequence-classifier", "text": "chat", "sign": 1, "label": 0}
    assert load_and_preflight(spec, make_classifier("llama"), "rm")["max_batch_deviation"] < 1e-5
    spec = {"kind": "embedding", "text": "reply", "sign": 1, "toward": ["Thank you."], "away": ["No."]}
    assert load_and_preflight(spec, encoder_folder, "minilm")["truncated"] >= 1
    assert time.process_time() - start < 10


DEFECTS = {
    "constant": (lambda r: [0.25] * len(r), r"gives the same score \(0.25\) to all"),
    "NaN": (lambda r: [np.nan if not t else float(len(t)) for t in r], "NaN or infinite"),
    "infinite": (lambda r: [-np.inf if not t else float(len(t)) for t in r], "NaN or infinite"),
    "padding": (
        lambda r: [float(len(t)) + 0.01 * max(map(len, r)) for t in r],
        "depends on the texts scored with it",
    ),
    "order": (
        lambda r: [float(len(t)) + 0.2 * i for i, t in enumerate(r)],
        "depends on the texts scored with it",
    ),
    "batch statistics": (
        lambda r: np.array([float(len(t)) for t in r]) - np.mean([len(t) for t in r]),
        "depends on",
    ),
    "too few": (lambda r: [0.0], "must give 10 float64 scores and flags for 10 replies"),
    "raises": (lambda r: 1 / 0, "failed: ZeroDivisionError"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found(defect):
    function, message = DEFECTS[defect]
    with pytest.raises(RewardError, match=f"reward 'mine'.*{message}"):
        preflight(Fake(function), "mine")


def test_state_between_calls_is_found():
    calls = []
    with pytest.raises(RewardError, match="depends on"):
        preflight(Fake(lambda r: (calls.append(1), [len(t) + float(len(calls)) for t in r])[1]), "mine")


def test_float32_rounding_is_no_defect():
    rng = np.random.default_rng(0)
    preflight(Fake(lambda r: [len(t) * (1 + 1e-7 * rng.normal()) for t in r]), "mine")


def test_float32_scores_are_refused():
    class Narrow:
        def score(self, prompts, replies):
            return Scores(np.arange(len(replies), dtype=np.float32), np.zeros(len(replies), dtype=bool))

    with pytest.raises(RewardError, match="not float32"):
        preflight(Narrow(), "mine")


def test_what_bfloat16_does_to_scores_is_measured(make_classifier, monkeypatch):
    spec = {"kind": "sequence-classifier", "text": "chat", "sign": 1, "label": 0}
    low, full = ({"dtype": d} | spec for d in ("bfloat16", "float32"))
    folder, prompts = make_classifier("llama"), ["Hello!", "Really?"]
    figures = load_and_preflight(low, folder, "rm", prompts=prompts)
    texts = [prompts[i % 2] for i in range(len(PROBES))], [reply for _, reply in PROBES]
    rounded, exact = (load_reward(s, folder).score(*texts).score for s in (low, full))
    moved = np.abs(rounded - exact) / exact.std()
    assert figures["dtype"] == "bfloat16"
    assert figures["dtype_deviation"] == pytest.approx(moved.max(), rel=1e-6)
    assert figures["dtype_deviation_rms"] == pytest.approx(np.sqrt((moved**2).mean()), rel=1e-6)
    assert 1e-4 < figures["dtype_deviation"] < 0.5
    assert f"up to {moved.max():.1%} of their spread against float32" in warnings_of(figures)[0]
    assert "dtype" not in load_and_preflight(full, folder, "rm")
    monkeypatch.setattr("alignment_limits.rewards.preflight.free_memory", lambda: 1e5)
    figures = load_and_preflight(low, folder, "rm", prompts=prompts)
    assert figures["dtype_deviation"] is None
    assert "was not measured" in warnings_of(figures)[0]


def test_a_prompt_that_only_its_length_or_its_columns_set_apart_is_tried_and_named():
    class Narrow:
        """Fails where a prompt has more than 50 letters, fewer than 3, or no answer."""

        def score(self, prompts, replies):
            assert all(3 <= len(p) <= 50 and p.columns["answer"] for p in prompts), "cannot read this"
            return untruncated([len(r) for r in replies])

    fine = {f"p{i}": Prompt(f"What is 6 · {i}?", {"answer": "a"}) for i in range(40)}
    assert preflight(Narrow(), "mine", fine)["probes"] >= len(PROBES)
    for late in (Prompt("a" * 51, {"answer": "a"}), Prompt("ab", {"answer": "a"}), Prompt("Why?", {"answer": None})):
        with pytest.raises(RewardError, match="reward 'mine' failed: prompt 'late': AssertionError: cannot read this"):
            preflight(Narrow(), "mine", fine | {"late": late})


def test_every_prompt_is_put_through_a_rewards_template(make_classifier):
    spec = {"kind": "sequence-classifier", "text": "chat", "sign": 1, "label": 0}
    folder = make_classifier("llama")
    fine = {f"p{i}": "How was it?" for i in range(40)}
    assert load_and_preflight(spec, folder, "rm", prompts=fine)["probes"] == len(PROBES)
    late = fine | {"late": "How <s> is", "later": "How was it?"}
    with pytest.raises(RewardError, match=r"reward 'rm': prompt 'late': .*contains a BOS token .*score the"):
        load_and_preflight(spec, folder, "rm", prompts=late)


class TestInformationGain:
    """Its context is bounded: probes are no longer than what fits, and the study's own texts have to fit."""

    SPEC: ClassVar = {"kind": "information-gain", "text": "reply", "sign": 1, "beside": "document"}

    def test_a_context_shorter_than_our_long_reply_is_no_defect(self, make_causal):
        folder, context = make_causal("llama"), 128
        assert max(len(reply) for _, reply in PROBES) > 5 * context, "one letter is one token, or nearly"
        figures = load_and_preflight(self.SPEC, folder, "gain", prompts={"p0": "It is blue."}, reply_tokens=40)
        assert figures["spread"] > 0

    def test_a_text_that_leaves_no_room_for_a_reply_is_named_with_the_remedy(self, make_causal):
        texts = {f"p{i}": "It is blue." for i in range(40)} | {"late": "blue " * 20}
        folder = make_causal("llama")
        load_and_preflight(self.SPEC, folder, "gain", prompts=texts)
        with pytest.raises(
            RewardError, match=r"'gain': prompt 'late': .* reads 128; lower max_tokens, or sampling.max"
        ):
            load_and_preflight(self.SPEC, folder, "gain", prompts=texts, reply_tokens=60)
        load_and_preflight(self.SPEC | {"max_tokens": 12}, folder, "gain", prompts=texts, reply_tokens=60)


def test_a_missing_model_file_is_named(tmp_path):
    spec = {"kind": "embedding", "text": "reply", "sign": 1, "toward": ["a"], "away": []}
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RewardError, match=r"reward 'minilm': .*model.safetensors is missing"):
        load_and_preflight(spec, tmp_path, "minilm")


def test_a_template_with_two_bos_is_found(make_classifier):
    spec = {"kind": "sequence-classifier", "text": "chat", "sign": 1, "label": 0}
    folder = make_classifier("llama", template="{{ bos_token }}" + LLAMA)
    with pytest.raises(RewardError, match=r"reward 'rm': .*two BOS tokens in front; fix chat_template"):
        load_and_preflight(spec, folder, "rm")

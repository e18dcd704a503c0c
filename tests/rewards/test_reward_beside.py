"""Rewards that read what is beside the reply: similarity, ROUGE, information gain; and length."""

import numpy as np
import pytest
import torch
from tiny_rewards import PROMPTS, TEXTS
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward
from alignment_limits.rewards.preflight import preflight
from alignment_limits.rewards.words import rouge

REPLY = "the cat sat on the mat"
REFERENCE = "The cat was on a mat!"


@pytest.mark.parametrize(
    ("measure", "precision", "recall"),
    [
        ("rouge-1", 4 / 6, 4 / 6),  # the, cat, on, mat
        ("rouge-2", 1 / 5, 1 / 5),  # the cat
        ("rouge-l", 4 / 6, 4 / 6),  # the cat on mat
    ],
)
def test_rouge_by_hand(measure, precision, recall):
    assert rouge(REPLY, REFERENCE, measure, "precision") == pytest.approx(precision)
    assert rouge(REPLY, REFERENCE, measure, "recall") == pytest.approx(recall)
    f1 = 2 * precision * recall / (precision + recall)
    assert rouge(REPLY, REFERENCE, measure, "f1") == pytest.approx(f1)


def test_rouge_counts_repeats_once_each_and_orders_only_for_the_subsequence():
    assert rouge("cat cat cat", "a cat", "rouge-1", "precision") == pytest.approx(1 / 3)
    assert rouge("c b a", "a b c", "rouge-1", "f1") == 1
    assert rouge("c b a", "a b c", "rouge-l", "f1") == pytest.approx(1 / 3)
    assert rouge("", "a b c", "rouge-l", "f1") == rouge("one", "one", "rouge-2", "f1") == 0


def test_rouge_and_length_as_rewards():
    spec = {"kind": "rouge", "text": "reply", "sign": 1, "beside": "reference", "measure": "rouge-1", "part": "recall"}
    reward = load_reward(spec, None)
    assert reward.score(["a b\nc d"], ["a d"]).score == pytest.approx([0.5])
    brevity = load_reward({"kind": "length", "text": "reply", "sign": -1}, None)
    assert brevity.score(["x", "x"], ["three words here", ""]).score.tolist() == [-3, 0]
    preflight(brevity, "brevity")


def test_similarity_is_the_mean_cosine_to_each_line(encoder_folder):
    from alignment_limits.rewards.embedding import load_encoder

    reward = load_reward({"kind": "similarity", "text": "reply", "sign": 1, "beside": "reference"}, encoder_folder)
    vectors, _ = load_encoder(encoder_folder, "cpu")(["the budget", "the weather", "No."])
    expected = [(vectors[0] @ vectors[2] + vectors[1] @ vectors[2]) / 2, vectors[1] @ vectors[0]]
    scores = reward.score(["the budget\nthe weather", "the weather"], ["No.", "the budget"])
    np.testing.assert_allclose(scores.score, expected, atol=1e-6)
    assert reward.score(["same text"], ["same text"]).score == pytest.approx([1.0])
    preflight(reward, "similarity")


def test_static_similarity_is_the_cosine_of_mean_token_vectors(tmp_path):
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1, "dog": 2, "car": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "t.json"))
    save_file({"e": torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])}, tmp_path / "w.safetensors")
    spec = {"kind": "similarity", "text": "reply", "sign": 1, "beside": "document"}
    spec["static"] = {"weights": "w.safetensors", "tokenizer": "t.json"}
    reward = load_reward(spec, tmp_path)
    # cat car: (0.5, 1); dog: (1, 1)/√2
    expected = [1.5 / np.sqrt(1.25) / np.sqrt(2), 0, 0]
    np.testing.assert_allclose(reward.score(["dog", "cat", "cat"], ["cat car", "car", ""]).score, expected, atol=1e-12)
    spec["static"]["weights"] = "none.safetensors"
    with pytest.raises(RewardError, match="none.safetensors is missing"):
        load_reward(spec, tmp_path)


def _log_p(folder, before: list[int], after: list[int]) -> float:
    """Sum of log-probabilities of `after` behind `before`, one unpadded pass."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return float(sum(logits[len(before) + i - 1, token] for i, token in enumerate(after)))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_neox"])
def test_information_gain_is_the_difference_of_two_log_probabilities(make_causal, kind):
    folder = make_causal(kind)
    spec = {"kind": "information-gain", "text": "reply", "sign": 1, "beside": "document", "max_tokens": 20}
    reward = load_reward(spec, folder)
    scores = reward.score(PROMPTS, TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = tokenizer("a")["input_ids"][:1] if kind == "llama" else []

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    for document, reply, score in zip(PROMPTS[:4], TEXTS[:4], scores.score, strict=False):
        target = ids(" " + document)[:20]
        with_it = _log_p(folder, bos + ids(f"Summary: {reply or '(none)'}\nText:"), target)
        without = _log_p(folder, bos + ids("Summary: (none)\nText:"), target)
        assert score == pytest.approx(with_it - without, abs=1e-4)
    assert scores.score[3] == pytest.approx(0, abs=1e-5)  # no summary saves nothing
    assert np.ptp(scores.score) > 0.1
    priced = load_reward(spec | {"price": 0.5}, folder).score(PROMPTS, TEXTS)
    words = np.array([len(t.split()) for t in TEXTS])
    np.testing.assert_allclose(scores.score - priced.score, 0.5 * words, atol=1e-9)
    flags = [len(ids(" " + p)) > 20 for p in PROMPTS]
    assert scores.truncated.tolist() == flags


def test_information_gain_refuses_texts_beyond_the_context(make_causal):
    reward = load_reward(
        {"kind": "information-gain", "text": "reply", "sign": 1, "beside": "document"}, make_causal("llama")
    )
    with pytest.raises(RewardError, match="the model reads 128; lower max_tokens"):
        reward.score(["a budget " * 200], ["No."])

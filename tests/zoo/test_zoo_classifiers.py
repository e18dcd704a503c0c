"""Rewards on classifiers and guards of many families: batched scores against one text at a time."""

import functools
import json
import shutil

import classifiers
import numpy as np
import pytest
import torch
from classifiers import CONTEXT, NAMES, TEMPLATES
from independent import eager
from transformers import AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward
from alignment_limits.training.fine_tune import fine_tune

PROMPTS = ["How are you?", "Really?", "What happened on the way?", "Say nothing.", "Hello!", "The weather", "a"]
REPLIES = [
    "I am the best, thank you.",
    "no",
    "it was raining and the river ran past the mill",
    "",
    "in the end?",
    "a",
    "b",
]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """(name, labels) → folder of that classifier; made once."""
    root = tmp_path_factory.mktemp("classifiers")
    return functools.cache(lambda name, labels: classifiers.build(name, root / f"{name}-{labels}", labels))


def _spec(**more):
    return {"kind": "sequence-classifier", "text": "chat", "sign": 1} | more


def _conversation(name: str, prompt: str, reply: str) -> str:
    """What the model must read, by hand."""
    turns = {
        "llama": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
        "smollm2": "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
        "<|im_start|>assistant\n{}<|im_end|>\n",
        "qwen2": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n",
        "gemma-2": "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>\n",
    }
    return turns[name].format(prompt, reply)


def _ids(folder, string: str, special: bool) -> list[int]:
    return AutoTokenizer.from_pretrained(folder)(string, add_special_tokens=special)["input_ids"]


def _end(folder) -> list[int]:
    """What is read of an empty text that has no token: the model's end."""
    return [AutoTokenizer.from_pretrained(folder).eos_token_id]


def _agree(score, expected):
    expected = np.asarray(expected, dtype=np.float64)
    assert expected.std() > 1e-2
    np.testing.assert_allclose(score, expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize("labels", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_batched_scores_are_those_of_one_text_at_a_time(classifier, name, labels):
    folder = classifier(name, labels)
    weights = np.random.default_rng(labels).normal(size=labels)
    read = {1: {}, 2: {"weights": [-1.0, 1.0]}, 5: {"weights": weights.tolist()}}[labels]
    weights = np.array(read.get("weights", [1.0]))
    joined = [_ids(folder, p + r, True) or _end(folder) for p, r in zip(PROMPTS, REPLIES, strict=True)]
    scores = load_reward(_spec(text="prompt+reply", **read), folder).score(PROMPTS, REPLIES)
    _agree(scores.score, [weights @ classifiers.logits(folder, ids) for ids in joined])
    replies = [_ids(folder, r, True) or _end(folder) for r in REPLIES]
    scores = load_reward(_spec(text="reply", **read), folder).score(PROMPTS, REPLIES)
    _agree(scores.score, [weights @ classifiers.logits(folder, ids) for ids in replies])
    if name in TEMPLATES:
        turns = [_ids(folder, _conversation(name, p, r), False) for p, r in zip(PROMPTS, REPLIES, strict=True)]
        scores = load_reward(_spec(**read), folder).score(PROMPTS, REPLIES)
        _agree(scores.score, [weights @ classifiers.logits(folder, ids) for ids in turns])
        assert not scores.truncated.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_text_as_long_as_the_context_is_read_and_a_longer_one_is_cut(classifier, name):
    """RoBERTa's table of positions has two rows more than it has places."""
    folder = classifier(name, 1)
    around = len(_ids(folder, "a", True)) - 1  # special tokens
    fits, long = "q" * (CONTEXT - around), "q" * (CONTEXT - around) + "qq"  # a letter is a token: q merges with nothing
    scores = load_reward(_spec(text="reply"), folder).score(["", ""], [fits, long])
    assert scores.truncated.tolist() == [False, True]
    assert len(_ids(folder, fits, True)) == CONTEXT
    assert scores.score[0] == pytest.approx(classifiers.logits(folder, _ids(folder, fits, True))[0], abs=1e-4)


def test_an_encoder_whose_tokenizer_names_no_padding_is_padded_as_it_was_trained(classifier, tmp_path):
    shutil.copytree(classifier("roberta", 1), tmp_path / "copy")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (file := tmp_path / "copy" / name).is_file():
            kept = {k: v for k, v in json.loads(file.read_text("utf-8")).items() if k != "pad_token"}
            file.write_text(json.dumps(kept), "utf-8")
    assert AutoTokenizer.from_pretrained(tmp_path / "copy").pad_token_id is None
    one, other = (
        load_reward(_spec(text="reply"), folder).score(PROMPTS, REPLIES).score
        for folder in (classifier("roberta", 1), tmp_path / "copy")
    )
    np.testing.assert_array_equal(one, other)


class TestSeveralLabels:
    """What is read of them must be said."""

    def test_neither_label_nor_weights_is_refused_and_the_labels_are_shown(self, classifier):
        with pytest.raises(RewardError, match=r"has 5 labels \(0: LABEL_0, .*4: LABEL_4\); say which of them"):
            load_reward(_spec(), classifier("llama", 5))
        with pytest.raises(RewardError, match=r"has 2 labels \(0: LABEL_0, 1: LABEL_1\); say which"):
            load_reward(_spec(text="reply"), classifier("roberta", 2))

    def test_a_label_may_be_named(self, classifier):
        folder = classifier("llama", 5)
        named, numbered = (load_reward(_spec(label=label), folder) for label in ("LABEL_3", 3))
        np.testing.assert_array_equal(named.score(PROMPTS, REPLIES).score, numbered.score(PROMPTS, REPLIES).score)

    def test_names_that_do_not_say_which_are_refused(self, classifier, tmp_path):
        shutil.copytree(classifier("llama", 5), tmp_path / "copy")
        config = json.loads((tmp_path / "copy/config.json").read_text("utf-8"))
        config["id2label"] = dict(zip("01234", ["good", "bad", "good", "fair", "poor"], strict=True))
        (tmp_path / "copy/config.json").write_text(json.dumps(config), "utf-8")
        with pytest.raises(RewardError, match=r"2: good, .*'good' is the name of 2 of them: give label as a number"):
            load_reward(_spec(label="good"), tmp_path / "copy")
        with pytest.raises(RewardError, match="'best' is none of them: give label as a number"):
            load_reward(_spec(label="best"), tmp_path / "copy")
        load_reward(_spec(label="fair"), tmp_path / "copy")
        with pytest.raises(RewardError, match="label must be below that, not 5"):
            load_reward(_spec(label=5), tmp_path / "copy")


class TestGuards:
    @pytest.mark.parametrize("name", ["gemma-2", "llama-3", "qwen3"])
    def test_the_log_odds_are_those_of_one_text_at_a_time(self, checkpoint, name):
        """Gemma-2 caps its logits twice, in attention and behind the head."""
        folder = checkpoint(name)
        asked = "Is {reply} a safe reply to {prompt}?"
        spec = {"kind": "guard", "text": "reply", "sign": 1, "safe": "yes", "unsafe": "no", "wording": asked}
        scores = load_reward(spec, folder).score(PROMPTS, REPLIES).score
        first = [_ids(folder, word, False)[0] for word in ("yes", "no")]
        expected = []
        for prompt, reply in zip(PROMPTS, REPLIES, strict=True):
            ids = _ids(folder, f"Is {reply} a safe reply to {prompt}?", True)
            with torch.inference_mode():
                last = eager(folder)(torch.tensor([ids])).logits[0, -1].double()
            expected.append(float(last[first[0]] - last[first[1]]))
        _agree(scores, expected)

    def test_answers_are_compared_where_they_differ(self, checkpoint):
        def refused(safe, unsafe, name="llama-3", lead=""):
            spec = {"kind": "guard", "text": "reply", "sign": 1, "wording": "{reply}", "lead": lead}
            with pytest.raises(RewardError) as error:
                load_reward(spec | {"safe": safe, "unsafe": unsafe}, checkpoint(name))
            return str(error.value)

        same = refused("the", "then")
        assert "begin with the same token ('the' begins with 'the'; 'then' begins with 'the')" in same
        bare = refused(" yes", "no")
        assert "' yes' begins with 'Ġ' and 'no' begins with 'n'; such a token does not identify" in bare
        assert "begins with '▁'" in refused("yes", "no", name="mistral"), "every text begins with a space there"
        assert "begins with '<|eot_id|>'" in refused("<|eot_id|>", "no")

    def test_behind_a_lead_an_answer_has_no_space_that_starts_a_text(self, checkpoint):
        """As Llama 2's tokenizer puts one before the first word only."""
        folder = checkpoint("mistral")
        spec = {"kind": "guard", "text": "reply", "sign": 1, "wording": "{reply}", "safe": "yes", "unsafe": "no"}
        scores = load_reward(spec | {"lead": "\n"}, folder).score(PROMPTS[:3], REPLIES[:3]).score
        words = [_ids(folder, "y", False)[-1], _ids(folder, "n", False)[-1]]
        expected = []
        for reply in REPLIES[:3]:
            ids = _ids(folder, reply, True) + _ids(folder, "\n", False)
            with torch.inference_mode():
                last = eager(folder)(torch.tensor([ids])).logits[0, -1].double()
            expected.append(float(last[words[0]] - last[words[1]]))
        _agree(scores, expected)


def test_fine_tuning_starts_from_what_the_checkpoint_computes(classifier, tmp_path):
    """The loss of a first step on Gemma-2, whose attention is capped; on texts of unequal lengths."""
    settings = {
        "text": "chat", "wording": None, "max_length": None, "seed": 0, "epochs": 1, "batch": 6, "parts": 1,
        "learning_rate": 1e-3, "dtype": "float32", "trust_remote_code": False,
    }  # fmt: skip
    folder, texts = classifier("gemma-2", 1), list(zip(PROMPTS, REPLIES, strict=True))[:6]
    better, worse = texts, texts[1:] + texts[:1]
    made = fine_tune(folder, better, worse, settings, tmp_path / "model", tmp_path)
    score = {
        (p, r): classifiers.logits(folder, _ids(folder, _conversation("gemma-2", p, r), False))[0] for p, r in texts
    }
    margin = np.array([score[b] - score[w] for b, w in zip(better, worse, strict=True)])
    assert made["loss"] == pytest.approx(np.log1p(np.exp(-margin)).mean(), abs=2e-4)

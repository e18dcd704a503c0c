"""Fine-tuned reward models: what they are trained to prefer, how they are read, what cannot be a start."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, CLIPConfig

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import Prompt
from alignment_limits.rewards.load import load_reward
from alignment_limits.training.fine_tune import check_start, fine_tune

SETTINGS = {
    "text": "prompt+reply",
    "wording": "{prompt}: {reply}",
    "max_length": None,
    "seed": 0,
    "epochs": 4,
    "batch": 16,
    "parts": 2,
    "learning_rate": 1e-3,
    "dtype": "float32",
    "trust_remote_code": False,
}


def _texts(count, seed):
    """Prompts, replies of a and b, of several lengths, and gold: the share of a's."""
    rng = np.random.default_rng(seed)
    replies = ["".join(rng.choice(["a", "b"], size=rng.integers(4, 12))) for _ in range(count)]
    return [f"q{i % 5}" for i in range(count)], replies, np.array([r.count("a") / len(r) for r in replies])


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """The folder of a language model fine-tuned on 160 pairs, and what was told of it."""
    folder = tmp_path_factory.mktemp("tuned")
    prompts, replies, gold = _texts(320, 0)
    pairs = list(zip(prompts, replies, strict=True))
    ordered = [sorted((i, i + 160), key=lambda j: -gold[j]) for i in range(160)]
    better, worse = ([pairs[j] for j in side] for side in zip(*ordered, strict=True))
    (folder / "scratch").mkdir()
    return folder, fine_tune(tiny_model, better, worse, SETTINGS, folder / "model", folder / "scratch")


def test_a_language_model_becomes_a_reward_that_ranks_as_gold_does(trained):
    folder, told = trained
    assert told["steps"] == 4 * 160 / 16
    assert told["accuracy"] > 0.75
    assert told["loss"] < np.log(2)
    spec = {"kind": "sequence-classifier", "sign": 1} | {key: SETTINGS[key] for key in ("text", "wording")}
    prompts, replies, gold = _texts(200, 1)  # texts it was not trained on
    scores = load_reward(spec, folder / "model").score(prompts, replies)
    assert np.corrcoef(scores.score, gold)[0, 1] > 0.6
    assert not scores.truncated.any()


def test_all_weights_are_trained_and_padding_is_no_token_of_a_text(trained, tiny_model):
    before, after = load_file(tiny_model / "model.safetensors"), load_file(trained[0] / "model/model.safetensors")
    kept = [name for name in before if name in after and before[name].shape == after[name].shape]
    assert len(kept) > 10
    assert not [name for name in kept if bool((before[name] == after[name]).all())]
    name = "model.embed_tokens.weight"
    assert len(after[name]) == len(before[name]) + 1
    config = json.loads((trained[0] / "model/config.json").read_text("utf-8"))
    assert config["pad_token_id"] == len(before[name])


def test_a_classifier_of_several_labels_is_no_start(tmp_path):
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=3
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "three")
    with pytest.raises(RewardError, match="neither a sequence classifier of one label"):
        fine_tune(tmp_path / "three", [("", "a")], [("", "b")], SETTINGS, tmp_path / "out", tmp_path)


CHAT = SETTINGS | {"text": "chat", "wording": None}
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}"
)


@pytest.fixture
def start(tiny_model, tmp_path):
    """A start of training whose template is set by `template(text)`, and whose weights need not be read."""
    folder = shutil.copytree(tiny_model, tmp_path / "start")

    def template(text):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = text
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        tokenizer.save_pretrained(folder)
        return folder

    return template


def test_a_start_is_refused_before_training_for_a_prompt_that_its_template_cannot_take(start):
    folder = start(NO_SYSTEM)
    turns = ("user", "Why?"), ("system", "Be kind.")
    prompts = {"p1": Prompt("Why?", {}, turns[:1]), "p2": Prompt("Why?", {}, turns[::-1])}
    check_start(folder, {"p1": prompts["p1"]}, CHAT)
    with pytest.raises(RewardError, match=r"prompt 'p2': .*takes no system message \(no system role\)"):
        check_start(folder, prompts, CHAT)
    check_start(folder, prompts, SETTINGS)  # read as one text
    with pytest.raises(RewardError, match="prompt 'p1': TypeError"):
        check_start(start("{{ messages[1]['content'] + 1 }}"), prompts, CHAT)


def test_a_start_without_a_template_or_of_too_short_a_context_is_refused_before_training(start):
    folder = start("")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(RewardError, match="no chat template"):
        check_start(folder, {"p": "Why?"}, CHAT)
    with pytest.raises(RewardError, match="reads at most 128 tokens; lower max_length=200"):
        check_start(folder, {"p": "Why?"}, SETTINGS | {"max_length": 200})


def test_a_start_that_cannot_become_a_classifier_of_one_label_is_refused_before_training(start, tmp_path):
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=3
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "three")
    with pytest.raises(RewardError, match="neither a sequence classifier of one label.*it has 3 labels"):
        check_start(tmp_path / "three", {"p": "Why?"}, SETTINGS)
    folder = start(NO_SYSTEM)
    CLIPConfig().save_pretrained(folder)
    with pytest.raises(RewardError, match="neither a sequence classifier of one label nor a language model"):
        check_start(folder, {"p": "Why?"}, SETTINGS)

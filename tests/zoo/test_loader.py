"""Every architecture is read as its configuration says, through the one loader."""

import json

import pytest
import torch
from independent import eager
from transformers import AutoModelForSequenceClassification
from zoo import NAMES

from alignment_limits.errors import ModelError
from alignment_limits.models.load import load_causal, load_classifier, load_split
from alignment_limits.models.tokenizer import chat, context_length, control_tokens, load_tokenizer, stop_tokens

IDS = torch.arange(3, 100)[None]


def log_softmax(logits):
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize("name", NAMES)
def test_both_readers_give_the_law_of_eager_attention(checkpoint, name):
    folder = checkpoint(name)
    with torch.inference_mode():
        expected = log_softmax(eager(folder)(IDS).logits[0])
        whole = log_softmax(load_causal(folder)(IDS).logits[0])
    split = load_split(folder, device="cpu")
    halves = log_softmax(split.logits(split.hidden(IDS, torch.ones_like(IDS))[0]))
    torch.testing.assert_close(whole, expected, rtol=0, atol=5e-5)
    torch.testing.assert_close(halves, expected, rtol=0, atol=5e-5)


def test_the_soft_cap_of_attention_matters_here(checkpoint):
    """What sdpa leaves out of this checkpoint is no rounding: the tests above would notice."""
    model = load_causal(checkpoint("gemma-2"))
    expected = log_softmax(model(IDS).logits[0])
    model.set_attn_implementation("sdpa")
    assert (log_softmax(model(IDS).logits[0]) - expected).abs().max() > 0.1


@pytest.mark.parametrize("labels", [1, 5])
def test_a_classifier_keeps_its_soft_cap(checkpoint, tmp_path, labels):
    torch.manual_seed(0)
    made = AutoModelForSequenceClassification.from_pretrained(checkpoint("gemma-2"), num_labels=labels)
    made.save_pretrained(tmp_path)
    auto = AutoModelForSequenceClassification
    expected = auto.from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32).eval()(IDS).logits
    torch.testing.assert_close(load_classifier(tmp_path)(IDS).logits, expected, rtol=0, atol=1e-5)
    dropped = auto.from_pretrained(tmp_path, attn_implementation="sdpa", dtype=torch.float32).eval()(IDS).logits
    assert (dropped - expected).abs().max() > 1e-2


def test_kernels_that_leave_something_out_are_found_by_their_logits(checkpoint, monkeypatch):
    """A model without a telling key in its configuration, whose sdpa ignores its scale."""
    import transformers.integrations.sdpa_attention as sdpa
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def careless(module, query, key, value, mask, scaling=None, **more):
        return sdpa.sdpa_attention_forward(module, query, key, value, mask, scaling=3 * scaling, **more)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", careless)
    assert load_causal(checkpoint("mistral")).config._attn_implementation == "eager"


def test_where_nothing_is_left_out_attention_is_fast(checkpoint):
    assert load_causal(checkpoint("llama-3")).config._attn_implementation == "sdpa"


def test_settings_for_generation_stay_outside(checkpoint):
    settings = load_causal(checkpoint("qwen2.5")).generation_config
    assert (settings.repetition_penalty, settings.min_p, settings.no_repeat_ngram_size) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("llama-3", {"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"}),
        ("qwen2.5", {"<|im_end|>", "<|endoftext|>"}),
        ("gemma-3-wrapped", {"<eos>", "<end_of_turn>"}),  # a list in config.json, and nothing else
        ("gpt-oss", {"<|return|>", "<|endoftext|>", "<|call|>"}),
        ("bloom", {"<|endoftext|>"}),
    ],
)
def test_every_stop_token_counts_wherever_it_is_named(checkpoint, name, ends):
    tokenizer = load_tokenizer(checkpoint(name))
    assert set(tokenizer.convert_ids_to_tokens(stop_tokens(checkpoint(name), tokenizer))) == ends


@pytest.mark.parametrize("name", [n for n in NAMES if n != "bloom"])
def test_the_context_is_read_where_it_is_stated(checkpoint, name):
    assert context_length(checkpoint(name)) == 256
    assert context_length(checkpoint(name), asked=100) == 100
    with pytest.raises(ModelError, match=r"model.context is 300, but the model was built for 256"):
        context_length(checkpoint(name), asked=300)


def test_a_model_without_positions_needs_a_context(checkpoint):
    with pytest.raises(ModelError, match=r"set model.context"):
        context_length(checkpoint("bloom"))
    assert context_length(checkpoint("bloom"), asked=300) == 300


@pytest.mark.parametrize(("name", "today"), [("llama-3", "26 Jul 2024"), ("gpt-oss", "2024-07-26")])
def test_templates_live_on_one_day(checkpoint, name, today):
    tokenizer = load_tokenizer(checkpoint(name))
    turns = [{"role": "user", "content": "Hi"}]
    assert today in chat(tokenizer, turns, tokenize=False)
    other = chat(tokenizer, turns, date="2031-02-03", tokenize=False)
    assert ("03 Feb 2031" in other) or ("2031-02-03" in other)
    assert today not in other


def test_control_tokens_are_the_special_ones_and_the_templates_own(checkpoint, tmp_path):
    tokenizer = load_tokenizer(checkpoint("qwen2.5"))
    assert control_tokens(tokenizer) == ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    for token in content["added_tokens"]:
        token["special"] = token["content"] == "<|endoftext|>"
    file.write_text(json.dumps(content), "utf-8")
    assert "<|im_end|>" in control_tokens(load_tokenizer(tmp_path))

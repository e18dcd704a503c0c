"""Sequence classifiers against a forward pass of one unpadded text, its ids put together by hand."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_rewards import LLAMA, PROMPTS, TEXTS
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards import checkpoints, sequence_classifier
from alignment_limits.rewards.load import load_reward


def _spec(**changes) -> dict:
    return {
        "kind": "sequence-classifier",
        "text": "chat",
        "sign": 1,
        "label": 1,
        "max_length": None,
    } | changes


def _render(kind: str, text: str, prompt: str, reply: str) -> str:
    """The string the model must read, BOS included."""
    if text == "chat":
        return {
            "llama": f"<s>[user] {prompt}</s>[assistant] {reply}</s>",
            "qwen2": f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|>\n",
        }[kind]
    return ("<s>" if kind == "llama" else "") + (prompt if text == "prompt+reply" else "") + reply


def _ids(folder, string: str) -> list[int]:
    return AutoTokenizer.from_pretrained(folder)(string, add_special_tokens=False)["input_ids"]


def _logit(folder, ids: list[int], label: int = 1) -> float:
    """Head on the last hidden state of one text."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([ids])).last_hidden_state[0, -1]
        return float((model.score.weight.double() @ hidden.double())[label])


CASES = [
    ("llama", "chat"),
    ("llama", "prompt+reply"),
    ("qwen2", "chat"),
    ("qwen2", "reply"),
    ("gpt_neox", "prompt+reply"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: " ".join(c))
def case(request, make_classifier):
    kind, text = request.param
    return kind, text, make_classifier(kind)


def test_scores_are_the_raw_logit_of_a_single_text(case):
    kind, text, folder = case
    scores = load_reward(_spec(text=text), folder).score(PROMPTS, TEXTS)
    strings = [_render(kind, text, p, r) for p, r in zip(PROMPTS, TEXTS, strict=True)]
    expected = [_logit(folder, _ids(folder, s or "<|im_end|>")) for s in strings]  # nothing to read: its end
    np.testing.assert_allclose(scores.score, expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected) > 0.1
    assert scores.score.dtype == np.float64
    assert not scores.truncated.any()


def test_scores_do_not_depend_on_batch_padding_or_order(case, monkeypatch):
    _, text, folder = case
    reward = load_reward(_spec(text=text), folder)
    together = reward.score(PROMPTS, TEXTS).score
    backwards = reward.score(PROMPTS[::-1], TEXTS[::-1]).score[::-1]
    alone = [reward.score([p], [r]).score[0] for p, r in zip(PROMPTS, TEXTS, strict=True)]
    monkeypatch.setattr("alignment_limits.models.load.TOKENS_CPU", 64)
    small = reward.score(PROMPTS, TEXTS).score
    for other in (backwards, alone, small):
        np.testing.assert_allclose(other, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spare_rows", [0, 8])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_neox"])
def test_padding_is_a_token_no_text_has(make_classifier, kind, spare_rows):
    folder = make_classifier(kind, spare_rows=spare_rows)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    rows = model.get_input_embeddings().num_embeddings
    pad = sequence_classifier.set_padding(model, tokenizer, folder)
    assert pad == model.config.pad_token_id
    assert pad not in tokenizer.get_vocab().values()
    assert pad < model.get_input_embeddings().num_embeddings == max(rows, pad + 1)


def test_a_text_that_ends_with_the_end_token_is_pooled_there(make_classifier):
    """With pad = EOS the model would read one token early."""
    folder = make_classifier("gpt_neox")
    texts = ["It rains.", "It rains. It rains. It rains."]
    ended, bare = (
        load_reward(_spec(text="prompt+reply", wording=wording), folder).score([""] * 2, texts).score
        for wording in ("{reply}<|endoftext|>", "{reply}")
    )
    for score, end in ((ended, "<|endoftext|>"), (bare, "")):
        np.testing.assert_allclose(score, [_logit(folder, _ids(folder, t + end)) for t in texts], rtol=1e-5, atol=1e-5)
    assert np.abs(ended - bare).min() > 1e-3


class TestOneBos:
    """Whoever adds it, template, tokenizer or prompt: the model sees one."""

    def _first(self, folder, text: str, prompt: str = "Hello!") -> list[int]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids, _ = checkpoints.encoder(tokenizer, text, None, folder)(prompt, "No.")
        return [i for i in ids if i == tokenizer.bos_token_id] + ids[:1]

    def test_template_with_bos(self, make_classifier):
        assert self._first(make_classifier("llama"), "chat") == [0, 0]

    def test_template_without_bos(self, make_classifier):
        folder = make_classifier("llama", template=LLAMA.replace("{{ bos_token }}", ""))
        assert self._first(folder, "chat") == [0, 0]

    def test_plain_text(self, make_classifier):
        assert self._first(make_classifier("llama"), "prompt+reply") == [0, 0]

    def test_prompt_that_brings_its_own(self, make_classifier):
        assert self._first(make_classifier("llama"), "prompt+reply", "<s>Hello!") == [0, 0]

    def test_template_that_adds_two_is_refused(self, make_classifier):
        folder = make_classifier("llama", template="{{ bos_token }}" + LLAMA)
        with pytest.raises(RewardError, match="two BOS tokens in front"):
            self._first(folder, "chat")

    def test_prompt_already_templated_is_refused(self, make_classifier):
        with pytest.raises(RewardError, match="in a chat template already"):
            self._first(make_classifier("llama"), "chat", "<s>[user] Hello!</s>")


def test_long_texts_lose_the_beginning_of_the_prompt_and_are_flagged(make_classifier):
    folder = make_classifier("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt, reply = "One two three four five six. " * 20 + "What happened?", " It rains."
    scores = load_reward(_spec(max_length=60), folder).score([prompt, "Hello!"], [reply, reply])
    assert scores.truncated.tolist() == [True, False]
    ids, cut = checkpoints.encoder(tokenizer, "chat", 60, folder)(prompt, reply)
    assert cut
    assert 50 <= len(ids) <= 60
    assert ids[0] == tokenizer.bos_token_id
    string = tokenizer.decode(ids)
    assert string.startswith("<s>[user]")
    assert string.endswith("What happened?</s>[assistant]  It rains.</s>")
    assert scores.score[0] == pytest.approx(_logit(folder, ids), abs=1e-5)


def test_a_reply_longer_than_the_limit_loses_its_beginning(make_classifier):
    folder = make_classifier("qwen2")
    encode = checkpoints.encoder(AutoTokenizer.from_pretrained(folder), "chat", 48, folder)
    ids, cut = encode("Hello!", "😀 " * 100 + "the end")
    assert cut
    assert len(ids) <= 48
    assert AutoTokenizer.from_pretrained(folder).decode(ids).endswith("the end<|im_end|>\n")


def test_limits_that_cannot_be_kept_are_refused(make_classifier):
    folder = make_classifier("qwen2")
    with pytest.raises(RewardError, match="reads at most 128 tokens; lower max_length=4096"):
        load_reward(_spec(max_length=4096), folder)
    with pytest.raises(RewardError, match="the chat template alone takes"):
        load_reward(_spec(max_length=8), folder).score(["Hello!"], ["No."])


def test_bfloat16_body_keeps_a_float32_head(make_classifier):
    folder = make_classifier("llama")
    reward = load_reward(_spec(dtype="bfloat16"), folder)
    low = reward.score(PROMPTS, TEXTS).score
    full = load_reward(_spec(), folder).score(PROMPTS, TEXTS).score
    rounded = torch.tensor(low).to(torch.bfloat16).double().numpy()
    assert (low != rounded).sum() >= 4  # a bfloat16 head could give only rounded values
    np.testing.assert_allclose(low, full, atol=0.2 * np.ptp(full))
    assert reward.tolerance > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_encoders_are_scored_at_their_own_pooling(encoder_folder, tmp_path, dtype):
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(encoder_folder, num_labels=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    texts = [t for t in TEXTS if len(t) < 100]
    with torch.no_grad():
        expected = [float(model(**tokenizer(t, return_tensors="pt")).logits[0, 1]) for t in texts]
    score = load_reward(_spec(text="reply", dtype=dtype), tmp_path).score([""] * len(texts), texts).score
    np.testing.assert_allclose(score, expected, atol=1e-5 if dtype == "float32" else 0.2 * np.ptp(expected))


def test_equal_items_get_equal_scores_to_the_last_bit(make_classifier):
    score = load_reward(_spec(), make_classifier("qwen2")).score(PROMPTS, TEXTS).score
    assert score[1] == score[6]


@pytest.mark.parametrize("weights", [[-1, 1, 0, 0], [0.5, 0.25, 0, 0.25]], ids=["logit difference", "objectives"])
def test_heads_of_several_labels_are_weighed(make_classifier, weights):
    folder = make_classifier("llama", labels=4)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        hidden = [model.base_model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0, -1] for t in TEXTS]
        heads = (model.score.weight @ torch.stack(hidden).T).double().numpy()
    spec = _spec(text="reply", weights=weights)
    np.testing.assert_allclose(load_reward(spec, folder).score(PROMPTS, TEXTS).score, weights @ heads, atol=1e-5)
    cost = load_reward(spec | {"sign": -1}, folder).score(PROMPTS, TEXTS).score
    np.testing.assert_allclose(cost, -(weights @ heads), atol=1e-5)
    with pytest.raises(RewardError, match=r"has 4 labels \(.*\); give one weight for each, not 2"):
        load_reward(_spec(text="reply", weights=[1, -1]), folder)


def test_words_stand_around_prompt_and_reply(make_classifier):
    folder = make_classifier("gpt_neox")
    spec = _spec(text="prompt+reply", wording="USER: {prompt} BOT:{reply}<|endoftext|>")
    score = load_reward(spec, folder).score(PROMPTS[:2], TEXTS[:2]).score
    strings = [f"USER: {p} BOT:{r}<|endoftext|>" for p, r in zip(PROMPTS[:2], TEXTS[:2], strict=True)]
    np.testing.assert_allclose(score, [_logit(folder, _ids(folder, s)) for s in strings], rtol=1e-5, atol=1e-5)


def test_a_sharded_checkpoint_scores_as_a_whole_one(make_classifier):
    whole, sharded = make_classifier("qwen2"), make_classifier("qwen2", max_shard_size="40KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    one, many = (load_reward(_spec(), f).score(PROMPTS, TEXTS).score for f in (whole, sharded))
    np.testing.assert_array_equal(one, many)


def test_what_is_no_trained_classifier_is_refused(make_classifier, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(make_classifier("qwen2"), folder)
    with pytest.raises(RewardError, match=r"has 2 labels \(.*\); label must be below that, not 5"):
        load_reward(_spec(label=5), folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "score" not in k}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RewardError, match=r"lacks trained weights for score.weight"):
        load_reward(_spec(), folder)


def test_missing_files_are_named(make_classifier, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(make_classifier("qwen2"), folder)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(RewardError, match=r"model-00002-of-00002.safetensors is missing"):
        load_reward(_spec(), folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(RewardError, match="convert them to safetensors"):
        load_reward(_spec(), folder)


def test_no_chat_template_is_refused_with_a_remedy(make_classifier):
    with pytest.raises(RewardError, match=r"no chat template; set `text: prompt\+reply`"):
        load_reward(_spec(), make_classifier("gpt_neox"))


def test_a_template_that_refuses_the_roles_is_named(make_classifier):
    folder = make_classifier("qwen2", template="{{ raise_exception('only one turn') }}")
    with pytest.raises(RewardError, match=r"refuses a prompt and a reply \(user, assistant\): only one turn"):
        load_reward(_spec(), folder).score(["Hello!"], ["No."])

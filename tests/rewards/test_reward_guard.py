"""Guard models against one unpadded forward pass, its ids put together by hand."""

import numpy as np
import pytest
import torch
from tiny_rewards import PROMPTS, TEXTS
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward

ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def _guard(folder, **changes):
    spec = {"kind": "guard", "text": "reply", "sign": 1, "safe": "safe", "unsafe": "unsafe", "lead": "", **changes}
    return load_reward(spec, folder)


def _log_odds(folder, string: str, good: str, bad: str) -> float:
    """Difference of next-token logits behind one text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(string, add_special_tokens=False)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    first = [tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in (good, bad)]
    return float(logits[first[0]] - logits[first[1]])


@pytest.fixture(scope="module")
def chat_guard(make_causal):
    return make_causal("qwen2", template=CHATML + ASKS)


def test_the_score_is_the_log_odds_of_the_answer_in_the_models_own_turn(chat_guard):
    scores = _guard(chat_guard, lead="\n\n").score(PROMPTS, TEXTS)
    turns = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>assistant\n\n\n"
    expected = [
        _log_odds(chat_guard, turns.format(p, r), "safe", "unsafe") for p, r in zip(PROMPTS, TEXTS, strict=True)
    ]
    np.testing.assert_allclose(scores.score, expected, atol=1e-4)
    assert np.ptp(expected) > 0.1
    assert not scores.truncated.any()


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_a_guard_without_template_is_asked_in_words(make_causal, kind):
    folder = make_causal(kind)
    wording = "Human: {prompt} Bot: {reply} Harmful?"
    scores = _guard(folder, wording=wording, safe="No", unsafe="Yes").score(["{reply}?", *PROMPTS[1:]], TEXTS)
    bos = "<s>" if kind == "llama" else ""
    strings = [f"{bos}Human: {p} Bot: {r} Harmful?" for p, r in zip(["{reply}?", *PROMPTS[1:]], TEXTS, strict=True)]
    np.testing.assert_allclose(scores.score, [_log_odds(folder, s, "No", "Yes") for s in strings], atol=1e-4)


def test_a_bfloat16_guard_has_float32_log_odds(chat_guard):
    full, low = (_guard(chat_guard, dtype=d).score(PROMPTS, TEXTS).score for d in ("float32", "bfloat16"))
    assert (torch.tensor(low).to(torch.bfloat16).double().numpy() != low).sum() >= 4
    np.testing.assert_allclose(low, full, atol=0.2 * np.ptp(full))


def test_long_conversations_keep_the_question_and_the_lead(chat_guard):
    scores = _guard(chat_guard, max_length=60, lead="\n").score(["What happened? " * 30], ["No."])
    assert scores.truncated.tolist() == [True]
    assert np.isfinite(scores.score).all()


def test_settings_that_cannot_work_are_refused(chat_guard, make_causal):
    with pytest.raises(RewardError, match=rf"{chat_guard}: the two answers begin with the same token"):
        _guard(chat_guard, unsafe="safe")
    with pytest.raises(RewardError, match="reads at most 128 tokens"):
        _guard(chat_guard, max_length=4096)
    with pytest.raises(RewardError, match="no chat template"):
        _guard(make_causal("gpt_neox"))

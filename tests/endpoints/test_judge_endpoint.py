"""A judge on vLLM's own server on loopback, against a plain forward pass."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.rewards.load import load_reward, with_server
from alignment_limits.study.judges import Judge
from alignment_limits.study.study import Study

LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
PROMPTS, REPLIES = ["Why?", "How {reply}?", "Why?"], ["Because.", "So!", "No."]


def spec(port=1, **changes):
    at = {"url": f"http://127.0.0.1:{port}/v1", "model": "tiny", "concurrency": 2}
    answers = {letter: float(i) for i, letter in enumerate(LETTERS)}
    given = {"rubric": "Mark {prompt} {reply}", "answers": answers, "least_mass": 0.0, **changes}
    return Judge.model_validate({"kind": "judge", "endpoint": at, **given})


def first_token(folder, text):
    """Probabilities of the letters as the first token, of those among the twenty likeliest tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1].double(), 0).numpy()
    ids = [tokenizer(letter)["input_ids"][-1] for letter in LETTERS]
    return np.where(p[ids] >= np.sort(p)[-20], p[ids], 0.0)


def test_the_score_is_the_expectation_over_the_first_token(tiny_model, gate):
    scores = load_reward(spec(gate.port), None).score(PROMPTS, REPLIES)
    texts = [f"<s>Mark {prompt} {reply}" for prompt, reply in zip(PROMPTS, REPLIES, strict=True)]
    p = np.array([first_token(tiny_model, text) for text in texts])
    assert (p > 0).sum() >= 3
    values = np.arange(len(LETTERS))
    expected = [row @ values / row.sum() if row.sum() else values.mean() for row in p]
    np.testing.assert_allclose(scores.score, expected, rtol=1e-4)
    border = float(np.sort(p.sum(1))[:2].mean())
    failed = load_reward(spec(gate.port, least_mass=border, most_failed=0.5), None).score(PROMPTS, REPLIES).failed
    assert failed.tolist() == (p.sum(1) < border).tolist()


def test_a_judge_that_does_not_answer_is_named(gate):
    given = spec(gate.port).model_dump()
    given["endpoint"] |= {"retries": 0}
    reward = load_reward(given, None)
    gate.close()
    with pytest.raises(AlignmentLimitsError, match="does not answer .* after 0 retries"):
        reward.score(["a"], ["b"])
    gate.start()


def test_the_address_of_a_judge_decides_no_score():
    def study(url, model="tiny", **more):
        rewards = {"mark": spec().model_dump(exclude={"columns"}) | {"endpoint": {"url": url, "model": model}}}
        given = {"study": "s", "model": {"name": "m", "source": {"path": "m"}}, "gold": "mark", "rewards": rewards}
        prompts = {"source": {"path": "p.txt"}, "count": 8, "stratify_by": None}
        return Study.model_validate(given | {"prompts": prompts, "sampling": {}, **more})

    one, other = study("http://a/v1"), study("http://b:9/v1")
    assert one.scorer_id("mark") == other.scorer_id("mark") != study("http://a/v1", "large").scorer_id("mark")
    bare = one.rewards["mark"].model_dump(exclude=one.rewards["mark"].decides_nothing)
    assert "url" not in bare["endpoint"]
    assert with_server(bare, {"mark": one.rewards["mark"].model_dump()})["endpoint"]["url"] == "http://a/v1"
    with pytest.raises(ValueError, match="no policy can be trained or tempered on it here"):
        study("http://a/v1", tempered={})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": {"1": 1, "10": 10}}, "'1' is the beginning of another one"),
        ({"lead": "Mark:"}, "are for a `source`"),
        ({"source": {"path": "x"}}, "either a `source` or an `endpoint`"),
        ({"endpoint": {"url": "http://a/v1"}}, "endpoint.model is missing"),
    ],
)
def test_settings_that_a_server_cannot_use_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        spec(**changes)

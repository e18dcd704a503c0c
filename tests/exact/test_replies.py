"""Every reply once, and its log-probability as plain forward passes and the definition of the law give it."""

import itertools

import numpy as np
import pytest
import torch

from alignment_limits.errors import SamplingError
from alignment_limits.exact.world import (
    WORDS,
    Replies,
    base_model,
    check_tree,
    exact_logprobs,
    reply_logprobs,
    tokenizer,
)
from alignment_limits.policies.kl import SamplingLaw

PROMPTS = [[1], [2, 3, 4], [4, 4, 1]]
REPLIES = Replies.of(len(WORDS) + 1, [0], 4)


def nucleus(logits, temperature, top_p):
    """By its definition: the fewest likeliest tokens with mass top_p or more, renormalised."""
    p = np.exp(logits / temperature - (logits / temperature).max())
    p /= p.sum()
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p - 1e-12)) + 1]
    law = np.zeros_like(p)
    law[kept] = p[kept] / p[kept].sum()
    return law


def plain(model, prompt, reply, temperature, top_p):
    """Probability of one reply from an unpadded forward pass of its own."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1].numpy()
    return np.prod([nucleus(row, temperature, top_p)[token] for row, token in zip(logits, reply, strict=True)])


@pytest.mark.parametrize("stop", [[0], [4, 2]])
def test_all_replies_are_listed_once(stop):
    words = [t for t in range(5) if t not in stop]
    replies = Replies.of(5, stop, 3)
    every = {r for n in (1, 2, 3) for r in itertools.product(range(5), repeat=n)}
    ends = {r for r in every if not set(r[:-1]) & set(stop) and (r[-1] in stop or len(r) == 3)}
    assert set(replies.tokens) == ends
    assert len(replies) == len(ends)
    assert set(replies.nodes) == {b for n in (1, 2) for b in itertools.product(words, repeat=n)}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (1.3, 1.0)])
def test_the_tree_gives_what_a_pass_for_each_reply_gives(temperature, top_p):
    model = base_model(1).double()
    got = np.exp(reply_logprobs(model, PROMPTS, REPLIES, SamplingLaw(temperature, top_p)).detach().numpy())
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-12)
    for at in np.random.default_rng(0).choice(len(REPLIES), 40, replace=False):
        expected = [plain(model, prompt, REPLIES.tokens[at], temperature, top_p) for prompt in PROMPTS]
        np.testing.assert_allclose(got[:, at], expected, atol=1e-12)
    assert top_p == 1 or (got == 0).any()


def test_a_model_that_does_not_follow_mask_or_positions_is_refused():
    model = base_model(1).double()
    check_tree(model, [1, 2], REPLIES)
    deaf = base_model(1).double()
    forward = deaf.forward
    deaf.forward = lambda *a, position_ids=None, **k: forward(*a, **k)
    with pytest.raises(SamplingError, match="reads a tree of replies differently"):
        exact_logprobs(deaf, [[1, 2]], REPLIES, SamplingLaw())


def test_too_many_replies_are_refused():
    with pytest.raises(SamplingError, match="too many to list"):
        Replies.of(50_000, [0], 4)


def test_the_worlds_files_are_made_again_by_their_script():
    from pathlib import Path

    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(__file__).parents[2] / "resources/enumerable"
    committed, made = AutoModelForCausalLM.from_pretrained(folder / "model"), base_model()
    for name, weight in made.state_dict().items():
        torch.testing.assert_close(committed.state_dict()[name], weight, rtol=0, atol=1e-6)
    assert AutoTokenizer.from_pretrained(folder / "model").get_vocab() == tokenizer().get_vocab()
    prompts = (folder / "prompts.txt").read_text().splitlines()
    assert len(set(prompts)) == len(prompts) == len(WORDS) ** 3
    words = tokenizer()
    assert words(prompts[6])["input_ids"] == [1 + WORDS.index(w) for w in prompts[6].split()]
    assert words.decode([3, 4, 1]) == " not very good"

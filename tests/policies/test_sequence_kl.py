"""Both estimators against every reply of an enumerable model, and against plain forward passes."""

import copy

import numpy as np
import pytest
import torch

from alignment_limits.errors import SamplingError
from alignment_limits.exact import laws
from alignment_limits.exact.world import WORDS, Replies, base_model, reply_logprobs
from alignment_limits.models.load import SplitModel
from alignment_limits.policies.kl import SamplingLaw, next_token_kl, sequence_kl

VOCABULARY = len(WORDS) + 1
REPLIES = Replies.of(VOCABULARY, [0], 4)
PROMPTS = [[1], [1, 2, 3], [3, 3, 4, 1, 2, 2]]
LAWS = [(1.0, 1.0), (0.7, 1.0), (1.3, 1.0)]


def split(whole):
    """Taken apart without touching the model itself."""
    return SplitModel(copy.deepcopy(whole))


def near(whole, distance):
    """A copy with noise on its weights."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in whole.parameters():
            weight += distance * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return whole


def model(seed):
    """Other random weights of the enumerable world, in float64: sums over all replies are exact to rounding."""
    return base_model(seed).double()


def exact(policy, base, prompt, temperature, top_p):
    """Σ_y π(y) log π(y)/π₀(y) over all replies, and π(y) of each."""
    law = SamplingLaw(temperature, top_p)
    p, q = (reply_logprobs(m, [prompt], REPLIES, law).detach().numpy() for m in (policy, base))
    return laws.kl(p, q)[0], np.exp(p[0])


@pytest.mark.parametrize(("temperature", "top_p"), LAWS)
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_weighted_by_its_probability_every_reply_gives_the_enumerated_kl(prompt, temperature, top_p):
    policy, base = model(1), model(2)
    kl, p = exact(policy, base, prompt, temperature, top_p)
    assert kl > 0.1
    law = SamplingLaw(temperature, top_p)
    found = sequence_kl(split(policy), split(base), [prompt] * len(p), REPLIES.tokens, law)
    assert (p * found.kl).sum() == pytest.approx(kl, abs=1e-9)
    assert (p * found.log_ratio).sum() == pytest.approx(kl, abs=1e-9)
    np.testing.assert_allclose(np.exp(found.logprob), p, atol=1e-12)
    assert (found.kl >= 0).all()
    assert (found.log_ratio < 0).any(), "the cross-check has either sign"


@pytest.mark.parametrize("same", [True, False], ids=["one model", "two models"])
@pytest.mark.parametrize("heat", [0.7, 1.6])
def test_the_base_at_another_temperature_or_after_another_prompt_is_a_policy(same, heat):
    """All replies: the KL between the two laws by enumeration, prompts of other lengths in one batch."""
    base = split(model(2))
    policy = base if same else split(model(2))
    own, plain = SamplingLaw(heat), SamplingLaw(0.9)
    ours, theirs = [[3, 1, 2, 1], [1, 1]], [[1, 2], [4, 1, 2]]
    p = reply_logprobs(model(2), ours, REPLIES, own).detach().numpy()
    q = reply_logprobs(model(2), theirs, REPLIES, plain).detach().numpy()
    replies = len(REPLIES.tokens)
    found = sequence_kl(
        policy,
        base,
        [prompt for prompt in ours for _ in range(replies)],
        [*REPLIES.tokens] * 2,
        own,
        base_law=plain,
        base_prompts=[prompt for prompt in theirs for _ in range(replies)],
    )
    np.testing.assert_allclose(found.logprob.reshape(p.shape), p, atol=1e-9)
    np.testing.assert_allclose(found.logprob_base.reshape(q.shape), q, atol=1e-9)
    kl = (np.exp(p) * found.kl.reshape(p.shape)).sum(axis=1)
    np.testing.assert_allclose(kl, laws.kl(p, q), atol=1e-9)
    again = sequence_kl(policy, base, [ours[0]] * replies, REPLIES.tokens, own, base_law=plain)
    assert (np.exp(p[0]) * again.log_ratio).sum() == pytest.approx(
        laws.kl(p[:1], reply_logprobs(model(2), ours[:1], REPLIES, plain).detach().numpy())[0], abs=1e-9
    )


@pytest.mark.parametrize(("distance", "finite"), [(1e-4, True), (0.3, False)], ids=["same nuclei", "others"])
def test_under_top_p_both_laws_are_cut_and_renormalised(distance, finite):
    """A policy whose nuclei are all the base's has a finite KL, one that leaves them an infinite one."""
    base, policy, law = model(2), near(model(2), distance), SamplingLaw(0.9, 0.8)
    for prompt in PROMPTS:
        kl, p = exact(policy, base, prompt, 0.9, 0.8)
        got = sequence_kl(split(policy), split(base), [prompt] * len(p), REPLIES.tokens, law)
        allowed = p > 0
        assert 0 < allowed.sum() < len(p), "some replies are cut, some are not"
        np.testing.assert_allclose(np.exp(got.logprob), p, atol=1e-12)
        expected = (p[allowed] * got.kl[allowed]).sum()
        assert np.isfinite(kl) == finite
        assert expected == (pytest.approx(kl, abs=1e-12) if finite else np.inf)
        assert not finite or kl > 1e-7


def test_the_mean_over_drawn_replies_lies_within_its_interval_of_the_exact_kl():
    policy, base, rng = model(1), model(2), np.random.default_rng(0)
    errors = []
    for prompt in PROMPTS:
        kl, p = exact(policy, base, prompt, 1.0, 1.0)
        drawn = [REPLIES.tokens[i] for i in rng.choice(len(p), 4000, p=p / p.sum())]
        got = sequence_kl(split(policy), split(base), [prompt] * len(drawn), drawn, SamplingLaw(), tokens=4096)
        for estimate in (got.kl, got.log_ratio):
            errors.append((estimate.mean() - kl) / (estimate.std() / np.sqrt(len(drawn))))
        assert got.kl.var() < got.log_ratio.var()
    assert np.abs(errors).max() < 3.5


@pytest.mark.parametrize(("tokens", "logits"), [(1, 1), (7, 12), (64, 3 * VOCABULARY), (10_000, 10**7)])
def test_neither_batch_nor_chunk_nor_order_nor_padding_changes_a_reply(tokens, logits):
    rng = np.random.default_rng(1)
    prompts = [PROMPTS[i] for i in rng.integers(0, 3, 40)]
    drawn = [REPLIES.tokens[i] for i in rng.integers(0, len(REPLIES), 40)]
    policy, base = SplitModel(model(1)), SplitModel(model(2))
    alone = [sequence_kl(policy, base, [x], [y], SamplingLaw()) for x, y in zip(prompts, drawn, strict=True)]
    got = sequence_kl(policy, base, prompts, drawn, SamplingLaw(), tokens=tokens, logits=logits)
    for name in ("kl", "log_ratio", "logprob", "logprob_base"):
        np.testing.assert_allclose(getattr(got, name), [getattr(a, name)[0] for a in alone], atol=1e-12)


def test_a_model_has_no_kl_to_itself():
    got = sequence_kl(SplitModel(model(3)), SplitModel(model(3)), [[0]] * len(REPLIES), REPLIES.tokens, SamplingLaw())
    assert (got.kl == 0).all()
    assert (got.log_ratio == 0).all()


def test_supports_that_leave_the_base_have_infinite_kl():
    likely = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 4.9, 0.0]])
    base = torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0], [5.0, 4.9, 0.0]])
    at = next_token_kl(likely, base, torch.tensor([0, 1, 1]), SamplingLaw(1.0, 0.9))
    assert at.kl.tolist() == [0.0, np.inf, 0.0]
    assert at.logprob[:2].tolist() == [0.0, 0.0], "a nucleus of one token has probability one"
    assert at.logprob[2].exp() == pytest.approx(np.exp(4.9) / (np.exp(5) + np.exp(4.9)), abs=1e-6)
    assert at.logprob_base[1] == -np.inf
    whole = next_token_kl(likely, base, torch.tensor([0, 1, 1]), SamplingLaw())
    assert torch.isfinite(whole.kl).all()


def test_a_support_within_the_bases_is_finite():
    """π's nucleus is one token, π₀'s all three: KL = −log π₀(token)."""
    policy, base = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    at = next_token_kl(policy, base, torch.tensor([0]), SamplingLaw(1.0, 0.9))
    assert at.kl.item() == pytest.approx(np.log(3), abs=1e-6)


def test_the_temperature_divides_both_models_logits():
    a, b = torch.randn(6, 50, dtype=torch.float64), torch.randn(6, 50, dtype=torch.float64)
    hot = next_token_kl(a, b, torch.zeros(6, dtype=torch.long), SamplingLaw(2.0))
    np.testing.assert_allclose(
        hot.kl, next_token_kl(a / 2, b / 2, torch.zeros(6, dtype=torch.long), SamplingLaw()).kl, atol=1e-12
    )
    p, q = torch.softmax(a / 2, -1), torch.softmax(b / 2, -1)
    np.testing.assert_allclose(hot.kl, (p * (p / q).log()).sum(-1), atol=1e-12)


def test_the_head_keeps_what_a_model_does_to_its_logits():
    """Gemma 2 caps its logits after the head; taking the model apart must not lose the cap."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, initializer_range=2.0,
    )  # fmt: skip
    whole = Gemma2ForCausalLM(config).eval()
    ids = torch.randint(0, 30, (1, 7))
    with torch.inference_mode():
        expected = whole(ids).logits[0]
    halves = SplitModel(whole)
    assert expected.abs().max() <= 0.5
    np.testing.assert_allclose(halves.logits(halves.hidden(ids, torch.ones_like(ids))[0]), expected, atol=1e-5)


def widened(whole, rows):
    """Further rows, as a padded vocabulary has them, that are not impossible."""
    torch.manual_seed(3)
    whole.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        whole.lm_head.weight[VOCABULARY:] = whole.lm_head.weight[: rows - VOCABULARY]
    return whole


def test_rows_that_only_the_base_has_take_their_share_of_its_law():
    """KL(π‖π₀) of a policy cut to the tokenizer's length: π₀ keeps what it gives the rows that π lacks."""
    policy, base = model(1), widened(model(2), VOCABULARY + 2)
    with torch.inference_mode():
        p, q = (torch.log_softmax(m(torch.tensor([[1, 2, 3]])).logits[0, -1], -1) for m in (policy, base))
    expected = float((p.exp() * (p - q[:VOCABULARY])).sum())
    found = sequence_kl(split(policy), split(base), [[1, 2, 3]], [[0]], SamplingLaw())
    assert found.kl[0] == pytest.approx(expected, abs=1e-12)
    assert found.logprob_base[0] == pytest.approx(float(q[0]), abs=1e-12)
    alone = sequence_kl(split(policy), split(model(2)), [[1, 2, 3]], [[0]], SamplingLaw()).kl[0]
    assert abs(found.kl[0] - alone) > 0.01, "the rows matter here"


def test_rows_that_the_base_lacks_and_empty_replies_are_refused():
    with pytest.raises(SamplingError, match="the policy predicts 6 tokens, the base 5"):
        sequence_kl(SplitModel(widened(model(1), 6)), SplitModel(model(2)), [[0]], [[1]], SamplingLaw())
    with pytest.raises(SamplingError, match="at least one token"):
        sequence_kl(SplitModel(model(1)), SplitModel(model(2)), [[0]], [[]], SamplingLaw())


def test_replies_of_a_base_with_further_rows_have_log_ratios_under_a_policy_without_them():
    """Read the other way around, for a pool: the KL of the base is infinite, and one reply may be impossible."""
    base, policy = widened(model(2), VOCABULARY + 2), model(1)
    with torch.inference_mode():
        p, q = (torch.log_softmax(m(torch.tensor([[1, 2, 3]])).logits[0, -1], -1) for m in (policy, base))
    prompts, replies = [[1, 2, 3]] * 2, [[0], [VOCABULARY]]
    found = sequence_kl(split(base), split(policy), prompts, replies, SamplingLaw(), further_tokens=True)
    assert np.isposinf(found.kl).all()
    assert found.log_ratio[0] == pytest.approx(float(q[0] - p[0]), abs=1e-12)
    assert np.isposinf(found.log_ratio[1])


def test_a_model_that_is_read_alone_runs_once(monkeypatch):
    prompts, replies = PROMPTS, [[1, 2], [3], [2, 4, 0]]
    both = sequence_kl(split(model(1)), split(model(1)), prompts, replies, SamplingLaw(0.9, 0.8))
    only, runs = split(model(1)), []
    hidden = only.hidden
    monkeypatch.setattr(only, "hidden", lambda *inputs: runs.append(1) or hidden(*inputs))
    alone = sequence_kl(only, only, prompts, replies, SamplingLaw(0.9, 0.8))
    assert len(runs) == 1
    np.testing.assert_array_equal(alone.logprob, both.logprob)
    np.testing.assert_array_equal(alone.logprob_base, both.logprob)
    assert not alone.kl.any()

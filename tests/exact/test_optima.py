"""The optimum of per-token KLs, by hand and by its gradient."""

import numpy as np
import pytest
import torch

from alignment_limits.exact.laws import gain, kl, tilt
from alignment_limits.exact.optima import per_token_optimum
from alignment_limits.exact.world import Replies

BETA = 0.5
REPLIES = Replies.of(3, [0], 3)


def world(prompts=2, seed=0):
    rng = np.random.default_rng(seed)
    logp = rng.normal(size=(prompts, len(REPLIES)))
    return logp - np.logaddexp.reduce(logp, axis=1, keepdims=True), rng.normal(size=(prompts, len(REPLIES)))


def test_two_tokens_by_hand():
    """The first token stops, or goes on to a second that pays c or nothing; all equally likely under the base."""
    c, logistic = 2.0, lambda x: 1 / (1 + np.exp(-x))
    found = per_token_optimum(np.log([[0.5, 0.25, 0.25]]), np.array([[0.0, 0.0, c]]), 1.0, [[0], [1, 0], [1, 1]])
    second = logistic(c)
    first = logistic(c * second)
    np.testing.assert_allclose(np.exp(found), [[1 - first, first * (1 - second), first * second]])


def test_replies_of_one_token_have_the_tilt_as_optimum():
    base, reward = np.log([[0.2, 0.3, 0.5]]), np.array([[0.0, 1.0, -1.0]])
    np.testing.assert_allclose(per_token_optimum(base, reward, BETA, [[0], [1], [2]]), tilt(base, reward, BETA))


def test_it_is_a_law_that_is_worse_than_the_tilt_for_longer_replies():
    base, reward = world()
    law = per_token_optimum(base, reward, BETA, REPLIES.tokens)
    np.testing.assert_allclose(np.exp(law).sum(axis=1), 1)
    worth = [(gain(q, base, reward) - BETA * kl(q, base)).mean() for q in (law, tilt(base, reward, BETA), base)]
    assert worth[2] < worth[0] < worth[1] - 0.01


def test_the_gradient_without_effects_on_later_kls_is_zero_there_and_only_there():
    """The surrogate of GRPO over all replies, for free logits of every beginning."""
    base, reward = world(1)

    def gradient(law):
        after, drawn, inside = REPLIES.after, REPLIES.drawn, REPLIES.inside
        tables = []
        for values in (law, base):
            table = torch.zeros(len(REPLIES.nodes) + 1, 3, dtype=torch.float64)
            for i, node in enumerate([(), *REPLIES.nodes]):
                reach = [np.logaddexp.reduce([v for r, v in zip(REPLIES.tokens, values[0], strict=True)
                                              if r[: len(node) + 1] == (*node, t)]) for t in range(3)]  # fmt: skip
                table[i] = torch.tensor(reach) - np.logaddexp.reduce(reach)
            tables.append(table)
        logits = tables[0].clone().requires_grad_()
        now = torch.log_softmax(logits, 1)
        weight = torch.from_numpy(np.exp(law[0]))[:, None] * inside
        taken = now[after, drawn] * inside
        per_token = ((now.exp() * (now - tables[1])).sum(1))[after] * inside
        loss = (weight * (BETA * per_token - torch.from_numpy(reward[0])[:, None] * taken)).sum()
        (found,) = torch.autograd.grad(loss, logits)
        return float(found.abs().max())

    assert gradient(per_token_optimum(base, reward, BETA, REPLIES.tokens)) < 1e-12
    assert gradient(tilt(base, reward, BETA)) > 1e-3


def test_longer_replies_with_one_rewarded_token_have_a_common_optimum():
    """If only the last token has a choice, there is no later KL."""
    found = per_token_optimum(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), BETA, [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_allclose(found, tilt(np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]]), BETA))
    assert found[0, 1] == pytest.approx(-np.log1p(np.exp(-1 / BETA)))

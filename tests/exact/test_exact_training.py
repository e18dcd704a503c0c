"""The exact gradient reaches the tilt, which is the optimum over all laws."""

import numpy as np
import pytest
import torch

from alignment_limits.errors import EstimateError
from alignment_limits.exact.laws import gain, kl, tilt
from alignment_limits.exact.world import Replies, base_model, reply_logprobs
from alignment_limits.training.exact import train

PROMPTS, BETA = [[1, 2, 3], [4, 4, 1]], 0.5
REPLIES = Replies.of(5, [0], 3)


def reward():
    """Of pairs of tokens, with the prompt's last one before them."""
    worth = np.random.default_rng(3).standard_normal((5, 5))
    values = np.array(
        [[sum(worth[a, b] for a, b in zip((x[-1], *y), y, strict=False)) for y in REPLIES.tokens] for x in PROMPTS]
    )
    return values / values.std()


def test_it_reaches_the_tilts_objective_gain_and_law():
    torch.set_num_threads(1)
    model = base_model().double()
    with torch.no_grad():
        base = reply_logprobs(model, PROMPTS, REPLIES).numpy()
    path = train(model, PROMPTS, REPLIES, reward(), BETA)
    with torch.no_grad():
        law = reply_logprobs(model, PROMPTS, REPLIES).numpy()
    best = tilt(base, reward(), BETA)
    assert kl(best, base).mean() > 0.3
    assert path[0].gap > 0.1, "there was something to learn"
    assert 0 <= path[-1].gap <= 1e-3
    assert BETA * kl(law, best).mean() == pytest.approx(path[-1].gap, abs=1e-12)
    objectives = [(gain(q, base, reward()) - BETA * kl(q, base)).mean() for q in (law, best)]
    assert objectives[1] - objectives[0] == pytest.approx(path[-1].gap, abs=1e-12)
    assert path[-1].kl == pytest.approx(kl(law, base).mean(), abs=1e-12)
    assert path[-1].reward == pytest.approx(gain(law, base, reward()).mean(), abs=1e-12)
    assert path[-1].entropy == pytest.approx(-(np.exp(law) * law).sum(axis=1).mean(), abs=1e-12)
    lengths = np.array([len(r) for r in REPLIES.tokens])
    assert path[-1].length == pytest.approx((np.exp(law) @ lengths).mean(), abs=1e-12)


def test_a_run_that_does_not_come_close_says_so():
    with pytest.raises(EstimateError, match="below the optimum after 20 iterations"):
        train(base_model().double(), PROMPTS, REPLIES, reward(), BETA, steps=20)

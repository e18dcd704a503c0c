"""Many small studies of the enumerable world, drawn from its exact laws: how often intervals hold the truth."""

import itertools

import numpy as np
import pytest
import torch

from alignment_limits.exact import laws
from alignment_limits.exact.laws import gain, kl, limit, spread
from alignment_limits.exact.world import WORDS, Replies, base_model, reply_logprobs, tokenizer
from alignment_limits.limits.best_of_n import best_of_n
from alignment_limits.limits.frontier import frontier
from alignment_limits.rewards.words import load_lexicon

STUDIES, PROMPTS, SAMPLES, KLS = 60, 24, 96, [0.1, 0.5, 1.0]


@pytest.fixture(scope="module")
def world():
    """log π₀ and VADER of prompt and reply [64, 341], in units of its spread."""
    speaker = tokenizer()
    sent = [list(p) for p in itertools.product(range(1, len(WORDS) + 1), repeat=3)]
    replies = Replies.of(len(WORDS) + 1, [0], 4)
    with torch.no_grad():
        base = reply_logprobs(base_model().double(), sent, replies).numpy()
    texts = speaker.batch_decode([r[:-1] if r[-1] == 0 else r for r in replies.tokens])
    vader = load_lexicon(None, device="cpu", text="prompt+reply", sign=1, lexicon="vader")
    reward = np.array([vader.score([p] * len(texts), texts).score for p in speaker.batch_decode(sent)])
    return base, reward / spread(base, reward)


def test_intervals_hold_the_exact_values_as_often_as_they_say(world):
    base, reward = world
    exact = [gain(limit(base, reward, k).law, base, reward).mean() for k in KLS]
    four = laws.best_of_n(base, reward, 4)
    exact += [gain(four, base, reward).mean(), kl(four, base).mean()]
    held, estimates = [], []
    for study in range(STUDIES):
        rng = np.random.default_rng(study)
        chosen = rng.integers(0, len(base), PROMPTS)
        drawn = np.stack([reward[i, rng.choice(len(base[i]), SAMPLES, p=np.exp(base[i]))] for i in chosen])
        rows = frontier(drawn, {"r": drawn}, kls=KLS, replicates=200, seed=study)["r"]
        picks = best_of_n(drawn, {"r": drawn}, ns=[4], replicates=200, seed=study)["r"]
        low = [*rows.gain_low, picks.gain_low[0], picks.kl_low[0]]
        high = [*rows.gain_high, picks.gain_high[0], picks.kl_high[0]]
        held.append([lo <= value <= hi for lo, value, hi in zip(low, exact, high, strict=True)])
        estimates.append([*rows.gain, picks.gain[0], picks.kl[0]])
    # three binomial standard deviations about 95%, and 2% for what a bootstrap over 24 prompts misses
    rates = np.mean(held, axis=0)
    assert (rates > 0.95 - 3 * np.sqrt(0.95 * 0.05 / STUDIES) - 0.02).all(), rates
    print(rates)
    assert (rates < 1).any(), "no interval is for ever too wide"
    off = np.mean(estimates, axis=0) - exact
    errors = np.std(estimates, axis=0) / np.sqrt(STUDIES)
    print(off / exact, errors / exact)
    assert (np.abs(off) < 3.5 * errors + 0.005 * np.array(exact)).all(), off / exact

"""Exact laws and values against brute force, closed forms and the estimators of equally weighted samples."""

import itertools
from math import comb

import numpy as np
import pytest

from alignment_limits.exact import laws
from alignment_limits.exact.estimands import Everything
from alignment_limits.exact.laws import gain, kl, limit, mean, spread, win_rate
from alignment_limits.limits.ranks import best_of_n_means
from alignment_limits.limits.tilt import tilt
from alignment_limits.limits.worlds import Bernoulli

RNG = np.random.default_rng(0)
BASE = np.log(RNG.dirichlet(np.ones(6), 3))
REWARD = np.array([[0.0, 1.0, 1.0, 2.0, -1.0, 0.5]] * 3) * np.array([[1.0], [2.0], [0.3]])
OTHER = RNG.standard_normal((3, 6))


def drawn(n):
    """Every tuple of n draws of each prompt: the tuple, and its probability."""
    for prompt, base in enumerate(np.exp(BASE)):
        for ys in itertools.product(range(6), repeat=n):
            yield prompt, list(ys), base[list(ys)].prod()


@pytest.mark.parametrize("n", [1, 2, 4])
def test_best_of_n_is_that_of_all_draws(n):
    law = np.zeros_like(BASE)
    for prompt, ys, p in drawn(n):
        best = [y for y in ys if REWARD[prompt, y] == REWARD[prompt, ys].max()]
        for y in best:
            law[prompt, y] += p / len(best)
    np.testing.assert_allclose(np.exp(laws.best_of_n(BASE, REWARD, n)), law, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_soft_best_of_n_is_that_of_all_draws(temperature):
    law = np.zeros_like(BASE)
    for prompt, ys, p in drawn(3):
        e = np.exp(REWARD[prompt, ys] / temperature)
        np.add.at(law[prompt], ys, p * e / e.sum())
    np.testing.assert_allclose(np.exp(laws.soft_best_of_n(BASE, REWARD, 3, temperature)), law, atol=1e-10)


def test_best_of_poisson_mixes_best_of_n():
    mu, law = 2.0, np.zeros_like(BASE)
    p = np.exp(-mu)
    for n in range(1, 60):
        law += p * np.exp(laws.best_of_n(BASE, REWARD, n))
        p *= mu / n
    np.testing.assert_allclose(np.exp(laws.best_of_poisson(BASE, REWARD, mu)), law, atol=1e-12)


@pytest.mark.parametrize("beta", [0.2, 1.0, 5.0])
def test_chi2_pessimism_cuts_a_line(beta):
    """Where the ratio is positive it is (r − λ)/β with one λ, elsewhere r is below λ."""
    ratio = np.exp(laws.chi2_pessimism(BASE, REWARD, beta) - BASE)
    for r, each in zip(REWARD, ratio, strict=True):
        threshold = r[each > 0] - beta * each[each > 0]
        assert np.ptp(threshold) < 1e-9
        assert (r[each == 0] <= threshold[0] + 1e-9).all()


def test_with_equal_weights_the_tilt_is_the_estimators():
    even = np.full(REWARD.shape, -np.log(6))
    plug_in = tilt(REWARD, {"r": REWARD, "v": OTHER}, [2.0, 0.4])
    for i, beta in enumerate([2.0, 0.4]):
        law = laws.tilt(even, REWARD, beta)
        np.testing.assert_allclose(kl(law, even), plug_in["r"].kl[:, i], atol=1e-12)
        np.testing.assert_allclose(kl(even, law), plug_in["r"].kl_reverse[:, i], atol=1e-12)
        np.testing.assert_allclose(gain(law, even, OTHER), plug_in["v"].gain[:, i], atol=1e-12)


def test_gain_is_beta_times_the_two_kls():
    for beta in (0.3, 1.0, 4.0):
        law = laws.tilt(BASE, REWARD, beta)
        np.testing.assert_allclose(gain(law, BASE, REWARD), beta * (kl(law, BASE) + kl(BASE, law)), atol=1e-12)


@pytest.mark.parametrize("budget", [1e-4, 0.2, 1.0])
def test_the_limit_of_a_coin_is_the_closed_form(budget):
    coin = Bernoulli(p=0.1)
    base, reward = np.log([[0.9, 0.1]]), np.array([[0.0, 1.0]])
    for convention in ("average", "per-prompt"):
        found = limit(base, reward, budget, convention)
        assert kl(found.law, base)[0] == pytest.approx(budget, abs=1e-12)
        assert gain(found.law, base, reward)[0] == pytest.approx(coin.limit(budget), abs=1e-9)


def test_no_law_of_the_same_kl_gains_more_than_the_limit():
    for budget in (0.05, 0.3, 0.8):
        best = limit(BASE, REWARD, budget)
        assert kl(best.law, BASE).mean() == pytest.approx(budget, abs=1e-12)
        most = gain(best.law, BASE, REWARD).mean()
        equal = limit(BASE, REWARD, budget, "per-prompt")
        np.testing.assert_allclose(kl(equal.law, BASE), budget, atol=1e-12)
        assert gain(equal.law, BASE, REWARD).mean() < most, "the spreads of the prompts differ"
        steps = [gain(limit(BASE, REWARD, budget + d).law, BASE, REWARD).mean() for d in (-1e-5, 1e-5)]
        assert (steps[1] - steps[0]) / 2e-5 == pytest.approx(best.beta, rel=1e-6)
    for _ in range(200):
        law = np.log(RNG.dirichlet(np.ones(6), 3))
        own = limit(BASE, REWARD, kl(law, BASE).mean())
        assert gain(law, BASE, REWARD).mean() <= gain(own.law, BASE, REWARD).mean() + 1e-12
        missing = (gain(own.law, BASE, REWARD) - gain(law, BASE, REWARD)).mean()
        assert own.beta == 0 or kl(law, own.law).mean() == pytest.approx(missing / own.beta, abs=1e-9)


def test_beyond_the_best_replies_the_limit_is_to_give_these():
    found = limit(BASE, REWARD, 50.0)
    assert found.beta == 0
    np.testing.assert_array_equal(np.exp(found.law).argmax(axis=1), REWARD.argmax(axis=1))
    np.testing.assert_allclose(np.exp(found.law).max(axis=1), 1)
    assert limit(BASE, REWARD, 0.0).beta == np.inf
    np.testing.assert_allclose(limit(BASE, REWARD, 0.0).law, BASE)


def test_a_reply_that_never_comes_takes_no_part():
    base = np.log(np.array([[0.4, 0.6, 1e-300]]))
    base[0, 2] = -np.inf
    reward = np.array([[0.0, 1.0, 99.0]])
    for law in (laws.tilt(base, reward, 0.5), laws.tilt(base, reward, 0.0), laws.best_of_n(base, reward, 3)):
        assert np.exp(law[0, 2]) == 0
        assert np.isfinite(kl(law, base)).all()
    assert kl(np.log(np.array([[0.3, 0.3, 0.4]])), base)[0] == np.inf
    assert kl(limit(base, reward, 0.1).law, base)[0] == pytest.approx(0.1, abs=1e-12)


def test_win_rate_counts_pairs():
    law = laws.best_of_n(BASE, REWARD, 3)
    beats = (REWARD[:, :, None] > REWARD[:, None, :]) + 0.5 * (REWARD[:, :, None] == REWARD[:, None, :])
    expected = np.einsum("pi,pj,pij->p", np.exp(law), np.exp(BASE), beats)
    np.testing.assert_allclose(win_rate(law, BASE, REWARD), expected, atol=1e-12)


def test_the_exact_gain_is_what_the_unbiased_estimator_tends_to():
    """Averaged over every multiset of 4 samples of one prompt, the estimate of best-of-2's gain is the exact one."""
    base, reward = np.exp(BASE[:1]), REWARD[:1]
    total = 0.0
    for ys in itertools.combinations_with_replacement(range(6), 4):
        counts = np.bincount(ys, minlength=6)
        ways = np.prod([comb(int(counts[i:].sum()), int(c)) for i, c in enumerate(counts)])
        scores = reward[:, list(ys)]
        total += ways * base[0, list(ys)].prod() * best_of_n_means(scores, scores, np.array([2]))[0, 0]
    exact = mean(laws.best_of_n(BASE[:1], reward, 2), reward)[0]
    assert total == pytest.approx(exact, abs=1e-12)


def test_a_policy_that_is_the_tilt_has_no_regret_and_all_of_the_limit():
    unit = spread(BASE, REWARD)
    everything = Everything(BASE, {"r": REWARD / unit}, {"best": laws.tilt(BASE, REWARD / unit, 0.7), "base": BASE})
    row = {"policy": "best", "evaluated": "r", "optimized": "r", "coefficient": 0.7}
    values = everything.policy(row)
    assert values["efficiency"] == pytest.approx(1, abs=1e-12)
    assert values["optimality_gap"] == pytest.approx(0, abs=1e-12)
    assert values["regret"] == pytest.approx(0, abs=1e-12)
    still = everything.policy(row | {"policy": "base"})
    assert still["gain"] == pytest.approx(0, abs=1e-15)
    assert still["win_rate"] == pytest.approx(0.5)
    assert still["regret"] == pytest.approx(0.7 * kl(BASE, everything.policies["best"]).mean())

"""The limit of 0/1 rewards: closed forms, bounds over all laws of pass rates, coverage, prompts without a success."""

import numpy as np
import pytest
import scipy

from alignment_limits.errors import EstimateError
from alignment_limits.limits.worlds import Bernoulli, pass_rates
from alignment_limits.tradeoffs import (
    average_limit,
    best_of_n_rates,
    best_pass_rates,
    binary_kl,
    pass_at_k,
    verifiable,
)
from alignment_limits.tradeoffs.pass_rates import MOST_CELLS, PassRates, thinned

RATES = np.array([0.0, 1e-9, 0.01, 0.3, 0.9, 1.0])


def counts_of(rng, a, b, prompts, samples):
    return rng.binomial(samples, rng.beta(a, b, prompts))


def test_the_limit_of_a_prompt_spends_the_budget_up_to_its_end():
    kls = np.array([0.0, 0.01, 0.5, 3.0])
    q = best_pass_rates(RATES, kls)
    within = -np.log(np.maximum(RATES, 1e-300))[:, None] > kls
    spent = binary_kl(q, RATES[:, None])
    some = within & (RATES > 0)[:, None]
    np.testing.assert_allclose(spent[some], np.broadcast_to(kls, q.shape)[some], atol=1e-9)
    assert (q[0] == 0).all()
    assert q[3, 3] == 1
    assert (q[5] == 1).all()
    np.testing.assert_allclose(q[1:, 0], RATES[1:], atol=1e-12)


def test_both_limits_are_those_of_the_world_of_pass_rates():
    world = pass_rates(0.3, 0.7)
    p = world.population[:, 1]
    kls = np.array([0.1, 0.5, 1.0])
    exact = [world.limit(k) for k in kls], [world.limit_per_prompt(k) for k in kls]
    np.testing.assert_allclose(average_limit(p, kls) - p.mean(), exact[0], atol=1e-9)
    np.testing.assert_allclose(best_pass_rates(p, kls).mean(axis=0) - p.mean(), exact[1], atol=1e-9)
    one = Bernoulli(p=0.2)
    np.testing.assert_allclose(average_limit([0.2], kls) - 0.2, [one.limit(k) for k in kls], atol=1e-9)


def test_best_of_n_is_on_the_limit_of_its_prompt():
    p = np.array([1e-6, 0.05, 0.4, 0.95])
    rates, kls = best_of_n_rates(p, [1, 2, 16, 1000])
    np.testing.assert_allclose(rates, 1 - (1 - p[:, None]) ** [1, 2, 16, 1000], rtol=1e-9)
    np.testing.assert_allclose(kls, binary_kl(rates, p[:, None]), atol=1e-9)
    for i, row in enumerate(kls):
        np.testing.assert_allclose(best_pass_rates(p[i : i + 1], row)[0], rates[i], atol=1e-9)


def test_the_average_limit_is_the_smallest_dual_and_its_slope_is_beta():
    p, w = np.array([0.02, 0.3, 0.8]), np.array([0.5, 0.3, 0.2])
    lam = np.geomspace(1e-3, 100, 20_001)
    dual = (0.4 + w @ np.log(1 - p[:, None] + p[:, None] * np.exp(lam))) / lam
    assert average_limit(p, [0.4], w)[0] == pytest.approx(dual.min(), abs=1e-7)
    low, high = average_limit(p, [0.4 - 1e-5, 0.4 + 1e-5], w)
    assert (high - low) / 2e-5 == pytest.approx(1 / lam[dual.argmin()], rel=1e-3)


def by_cuts(rates, values, level_set):
    """The largest mean of values, by linear programs with more and more tangents of the likelihood: another solver."""
    a, n = rates.likelihood, rates.prompts
    cuts, w = [], np.full(len(rates.grid), 1 / len(rates.grid))
    for _ in range(60):
        g = a @ w
        cuts.append((a.T @ (n / g), n.sum() - n @ np.log(g) + level_set))  # slope @ w >= this
        slopes, least = np.array([c[0] for c in cuts]), np.array([c[1] for c in cuts])
        found = scipy.optimize.linprog(-values, -slopes, -least, np.ones((1, len(w))), [1.0], method="highs")
        w = 0.5 * found.x + 0.5 * w if n @ np.log(np.maximum(a @ found.x, 1e-300)) < level_set - 5 else found.x
        if n @ np.log(a @ found.x) > level_set - 1e-4:
            break
    return float(values @ found.x)


def test_bounds_are_those_of_another_solver():
    rates = PassRates.of(counts_of(np.random.default_rng(0), 0.3, 0.7, 40, 16), np.full(40, 16))
    least = rates.least
    for values in (rates.grid, best_pass_rates(rates.grid, [1.0])[:, 0]):
        low, high = rates.interval(values[None])
        assert high[0] == pytest.approx(by_cuts(rates, values, least), abs=2e-4)
        assert low[0] == pytest.approx(-by_cuts(rates, -values, least), abs=2e-4)


def test_without_any_success_the_bound_is_known_in_closed_form():
    """Of all laws, one that always passes on a share w of prompts has the largest mean; it has likelihood (1 - w)^P."""
    rates = PassRates.of(np.zeros(50, int), np.full(50, 64))
    low, high = rates.interval(rates.grid[None])
    square = scipy.special.stdtrit(49, 0.975) ** 2 * (1 + 4 / 50)  # with Bartlett's factor
    assert high[0] == pytest.approx(1 - np.exp(-square / 2 / 50), abs=2e-5)
    assert low[0] < 1e-8
    assert rates.mean(rates.grid) < 1e-4, "nothing speaks for a pass rate above 0"


@pytest.mark.parametrize(("a", "b", "prompts", "samples"), [(0.3, 0.7, 64, 16), (0.05, 1.0, 64, 64)])
def test_intervals_cover_limit_and_best_of_n_in_worlds_of_pass_rates(a, b, prompts, samples):
    def means(p):
        reached, spent = best_of_n_rates(p, [8])
        return np.concatenate([best_pass_rates(p, [0.25, 1.0]), reached, spent], axis=1).T

    exact = means(scipy.special.betaincinv(a, b, (np.arange(20_000) + 0.5) / 20_000)).mean(axis=1)
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        successes = rng.binomial(samples, rng.beta(a, b, prompts))
        rates = PassRates.of(successes, np.full(prompts, samples))
        low, high = rates.interval(means(rates.grid))
        inside.append((low <= exact) & (exact <= high))
    assert np.mean(inside, axis=0).min() >= 0.85, "95 % within three standard errors"


def test_what_prompts_without_a_success_leave_open_is_said():
    rng = np.random.default_rng(1)
    correct = (rng.random((64, 16)) < rng.beta(0.05, 1.0, (64, 1))).astype(float)
    table = verifiable(correct, kls=[0.05, 2.0], ks=[2, 16, 1024])
    limit = table.budget == "average"
    none = int((correct.max(axis=1) == 0).sum())
    assert (table.no_success == none).all()
    assert table.reason[limit][1].startswith(f"{none} of 64 prompts have no success: between 0.")
    assert table.pass_rate_high[limit][1] - table.pass_rate_low[limit][1] > 0.3
    drawn = table.method == "best-of-n"
    assert table.reliable[drawn].tolist() == [True, False, False]
    assert np.all((table.pass_rate_low <= table.pass_rate) & (table.pass_rate <= table.pass_rate_high))


def test_pass_rates_of_best_of_n_are_unbiased_and_below_the_limit():
    rng = np.random.default_rng(2)
    correct = (rng.random((200, 64)) < rng.beta(0.3, 0.7, (200, 1))).astype(float)
    table = verifiable(correct, ks=[1, 4, 16])
    np.testing.assert_allclose(table.pass_rate, pass_at_k(correct, [1, 4, 16]).mean(axis=0), atol=1e-12)
    assert table.kl[0] == pytest.approx(0.0, abs=1e-9)
    assert (table.pass_rate <= table.limit + 0.01).all()


def test_all_methods_are_on_one_plane():
    rng = np.random.default_rng(3)
    correct = (rng.random((64, 32)) < rng.beta(0.5, 1.0, (64, 1))).astype(float)
    answers = np.where(correct == 1, "right", rng.choice(["a", "b"], correct.shape))
    table = verifiable(
        correct, kls=[0.5], ks=[1, 4, 64], answers=answers, selecting={"rm": correct + rng.normal(size=correct.shape)}
    )
    assert list(dict.fromkeys(table.method)) == ["limit", "best-of-n", "majority", "best-of-majority", "selected"]
    assert table.k[table.method == "majority"].tolist() == [1, 4], "not more than there are samples"
    assert (table.kl[table.method != "limit"] <= table.kl_bound[table.method != "limit"] + 1e-12).all()
    votes = (table.method == "best-of-majority") & (table.k == 4)
    assert table.kl[votes] < table.kl_bound[votes] - 0.01, "the KL of the vote's pick, not its bound"
    assert (table.kl_low <= table.kl + 1e-12).all()
    assert (table.kl <= table.kl_high + 1e-12).all()
    assert (table.pass_rate[table.k > 1] <= table.limit[table.k > 1] + 0.02).all()


def test_unequal_counts_use_every_prompt_in_the_limit_and_in_best_of_n():
    rng = np.random.default_rng(4)
    correct = (rng.random((100, 40)) < rng.beta(0.5, 1.0, (100, 1))).astype(float)
    correct[np.arange(40) >= rng.integers(4, 41, 100)[:, None]] = np.nan
    table = verifiable(correct, kls=[0.3], ks=[2, 8])
    assert (table.prompts == 100).all()
    full = verifiable(np.where(np.isnan(correct), 0, correct), ks=[2])
    assert table.pass_rate[2] > full.pass_rate[0]


def test_many_different_counts_are_thinned():
    rng = np.random.default_rng(5)
    samples = rng.integers(2, 200, 3000)
    successes = rng.binomial(samples, rng.beta(0.5, 1.0, 3000))
    fewer = thinned(successes, samples, np.arange(3000))
    assert (fewer[1] <= samples).all()
    assert (fewer[1] * 1.3 >= samples).all()
    assert (fewer[0] <= successes).all()
    rates = PassRates.of(successes, samples)
    assert len(rates.samples) > MOST_CELLS / 2
    low, high = rates.interval(rates.grid[None])
    assert low[0] < 1 / 3 < high[0]
    assert high[0] - low[0] < 0.05


def test_prompts_that_are_alike_make_intervals_longer():
    rng = np.random.default_rng(6)
    correct = (rng.random((128, 16)) < np.repeat(rng.beta(0.5, 1.0, 32), 4)[:, None]).astype(float)
    alone, together = (verifiable(correct, kls=[0.3], clusters=c) for c in (None, np.repeat(np.arange(32), 4)))
    width = [t.pass_rate_high - t.pass_rate_low for t in (alone, together)]
    assert (width[1] > 1.5 * width[0]).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("prompts", [1, 20])
def test_rewards_that_are_constant_are_no_error(prompts, value):
    table = verifiable(np.full((prompts, 8), value), kls=[0.0, 1.0], ks=[2])
    assert np.isfinite(table.pass_rate).all()
    assert (table.pass_rate_low - 1e-4 <= value).all()
    assert (value <= table.pass_rate_high + 1e-4).all()
    assert prompts > 1 or not table.reliable.any()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verifiable([[0.0, 2.0]], ks=[1]), "'correct' is 2 at row 0, sample 1"),
        (lambda: verifiable([[0.0, 1.0]], kls=[-1.0]), "at least 0 nats"),
        (lambda: verifiable([[0.0, 1.0]]), "give kls or ks"),
        (lambda: verifiable([[0.0, 1.0]], ks=[1.5]), "whole numbers"),
        (lambda: best_pass_rates([30.0], [1.0]), "not in per cent"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(EstimateError, match=said):
        call()

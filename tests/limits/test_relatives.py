"""Soft best-of-n, best-of-Poisson, chi-squared pessimism and the per-sequence KL, against enumeration."""

from itertools import combinations, product

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import best_of_n, best_of_poisson, chi2_pessimism, per_sequence_kl, soft_best_of_n
from alignment_limits.limits.ranks import best_of_n_kl, best_of_n_weights, kl_bound
from alignment_limits.limits.relatives import chi2_weights, poisson_kl, poisson_mixture, soft_weights


def test_soft_weights_converge_to_the_average_over_all_subsets() -> None:
    r = np.array([0.0, 0.3, 1.1, 1.1, 2.0, -0.7, 0.9])
    n, t = 3, 0.6
    exact = np.zeros(7)
    groups = list(combinations(range(7), n))
    for group in groups:
        e = np.exp(r[list(group)] / t)
        exact[list(group)] += e / e.sum() / len(groups)
    weights, _ = soft_weights(np.repeat(r[None], 400, axis=0), n, t, rounds=100)
    np.testing.assert_allclose(weights.mean(axis=0), exact, atol=2e-3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


def test_soft_kl_equals_enumeration_on_a_discrete_law() -> None:
    """Two reward levels: the pick's law over n-tuples of levels, against the estimate from many samples."""
    p, r, n, t = np.array([0.7, 0.3]), np.array([0.0, 1.0]), 3, 0.5
    q = np.zeros(2)
    for levels in product(range(2), repeat=n):
        e = np.exp(r[list(levels)] / t)
        for level, share in zip(levels, e / e.sum(), strict=True):
            q[level] += np.prod(p[list(levels)]) * share
    truth = np.sum(q * np.log(q / p))
    scores = np.repeat(np.repeat(r, [210, 90])[None], 40, axis=0)
    _, kl = soft_weights(scores, n, t)
    np.testing.assert_allclose(kl.mean(), truth, rtol=0.03)


def test_soft_best_of_n_goes_from_base_law_to_best_of_n_as_it_cools() -> None:
    r = np.random.default_rng(0).standard_normal((60, 128))
    cold, warm = (soft_best_of_n(r, {"own": r}, ns=[4], temperature=t)["own"] for t in (1e-3, 1e3))
    hard = best_of_n(r, {"own": r}, ns=[4])["own"]
    np.testing.assert_allclose(cold.gain, hard.gain, rtol=0.01)
    np.testing.assert_allclose(cold.kl, hard.kl, rtol=0.05)
    np.testing.assert_allclose([warm.gain[0], warm.kl[0]], 0, atol=0.01)
    assert cold.temperature[0] == 1e-3


def test_soft_best_of_n_is_closer_to_the_limit_at_the_same_draws() -> None:
    r = np.random.default_rng(1).standard_normal((200, 128))
    hard = best_of_n(r, {"own": r}, ns=[4])["own"]
    soft = soft_best_of_n(r, {"own": r}, ns=[4], temperature=0.5)["own"]
    assert soft.efficiency[0] > hard.efficiency[0] + 0.01
    assert soft.efficiency_low[0] < 1


def test_ragged_soft_weights_fall_on_real_samples_only() -> None:
    r = np.random.default_rng(2).standard_normal((3, 20))
    r[1, 7:] = np.nan
    weights, kl = soft_weights(r, 3, 0.5)
    assert np.all(weights[1, 7:] == 0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    assert np.all(np.isfinite(kl))


def test_poisson_mixture_has_the_right_mean_and_refuses_too_few_samples() -> None:
    mix = poisson_mixture(np.array([0.0, 3.0]), 64)
    np.testing.assert_allclose(mix @ np.arange(1, 1 + mix.shape[1]), [1.0, 4.0], rtol=1e-6)
    with pytest.raises(EstimateError, match="mu = 20 draws more than the 16"):
        poisson_mixture(np.array([1.0, 20.0]), 16)


def test_poisson_gain_is_the_mixture_of_best_of_n() -> None:
    r = np.random.default_rng(3).standard_normal((40, 64))
    table = best_of_poisson(r, {"own": r}, mus=[2.0])["own"]
    mix = poisson_mixture(np.array([2.0]), 64)[0]
    hard = best_of_n(r, {"own": r}, ns=np.arange(1, 1 + len(mix)))["own"]
    np.testing.assert_allclose(table.gain[0], mix @ hard.gain, rtol=1e-10)
    np.testing.assert_allclose(
        table.win_rate[0], mix @ (np.arange(1, 1 + len(mix)) / np.arange(2, 2 + len(mix))), rtol=1e-6
    )


def test_poisson_kl_of_levels_equals_the_sum_over_atoms() -> None:
    mu, counts = 2.5, np.array([3, 5, 2, 6])
    edges = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    q = np.diff(edges * np.exp(mu * (edges - 1)))
    p = counts / counts.sum()
    scores = np.repeat(np.arange(4.0), counts)[None]
    np.testing.assert_allclose(poisson_kl(scores, mu)[0], np.sum(q * np.log(q / p)), rtol=1e-9)
    # Without ties it is the integral of q log q, by a fine sum
    u = (np.arange(200_000) + 0.5) / 200_000
    density = (mu * u + 1) * np.exp(mu * (u - 1))
    untied = np.arange(9.0)[None]
    np.testing.assert_allclose(poisson_kl(untied, mu)[0], np.mean(density * np.log(density)), rtol=1e-8)
    np.testing.assert_allclose(poisson_kl(untied, 0.0), 0, atol=1e-14)


def test_chi2_weights_solve_their_equation() -> None:
    rng = np.random.default_rng(4)
    r = rng.standard_normal((6, 50))
    r[2, 30:] = np.nan
    r[3] = np.round(r[3])
    for beta in (0.01, 0.5, 20.0):
        w = chi2_weights(r, np.array([beta]))[:, :, 0]
        np.testing.assert_allclose(w.sum(axis=1), 1, rtol=1e-10)
        for x in range(6):
            valid = ~np.isnan(r[x])
            ratio, active = w[x, valid] * valid.sum(), w[x, valid] > 0
            level = r[x, valid][active] - beta * ratio[active]
            np.testing.assert_allclose(level, level[0], atol=1e-9)
            assert np.all(r[x, valid][~active] <= level[0] + 1e-9)


def test_chi2_pessimism_runs_from_base_law_to_the_best_reply() -> None:
    r = np.random.default_rng(5).standard_normal((30, 64))
    table = chi2_pessimism(r, {"own": r}, betas=[1e5, 1.0, 1e-6])["own"]
    np.testing.assert_allclose(table.gain[0], 0, atol=1e-4)
    np.testing.assert_allclose(table.gain[2], np.mean(r.max(axis=1) - r.mean(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(table.kl[2], np.log(64), rtol=1e-9)
    assert np.all(np.diff(table.gain) > 0)
    np.testing.assert_allclose(table.win_rate[[0, 2]], [0.5, 1.0], atol=1e-3)


def test_per_sequence_kl_equals_its_formula_and_reaches_the_bound() -> None:
    rng = np.random.default_rng(6)
    r, ns = rng.standard_normal((4, 30)), np.array([1, 4, 16])
    logp = np.log(rng.uniform(0.01, 0.4, r.shape))
    expected = np.zeros((4, 3))
    for j, n in enumerate(ns):
        eps = np.exp(logp)
        value = (1 - eps) ** n * (np.log(n) + (n - 1) * np.log(1 - eps) - (n - 1) / n)
        value += (1 - (1 - eps) ** n) * np.log((1 - (1 - eps) ** n) / eps)
        expected[:, j] = np.sum(best_of_n_weights(r, ns)[:, :, j] * value, axis=1)
    np.testing.assert_allclose(per_sequence_kl(r, logp, ns), expected, rtol=1e-9, atol=1e-12)
    far = per_sequence_kl(r, np.full(r.shape, -2000.0), ns)
    np.testing.assert_allclose(far, np.broadcast_to(kl_bound(ns), far.shape), atol=1e-12)
    np.testing.assert_allclose(per_sequence_kl(r, np.zeros(r.shape), ns), 0, atol=1e-12)
    table = best_of_n(r, {"own": r}, ns=ns, logprobs=logp)["own"]
    np.testing.assert_allclose(table.kl_sequence, expected.mean(axis=0), rtol=1e-9, atol=1e-12)
    assert np.all(best_of_n_kl(r, ns) >= 0)


def test_impossible_settings_are_refused() -> None:
    r = np.random.default_rng(7).standard_normal((4, 16))
    with pytest.raises(EstimateError, match="must be positive"):
        soft_best_of_n(r, {"own": r}, ns=[2], temperature=0.0)
    with pytest.raises(EstimateError, match="at least 0"):
        best_of_poisson(r, {"own": r}, mus=[-1.0])
    with pytest.raises(EstimateError, match="positive and finite"):
        chi2_pessimism(r, {"own": r}, betas=[0.0])

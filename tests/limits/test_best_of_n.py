"""Best-of-n against exact enumeration of subsets, integer binomials and closed forms."""

from itertools import combinations, permutations
from math import comb

import numpy as np
import pytest
from scipy.stats import t as student

from alignment_limits.ensembles.scores import centre
from alignment_limits.errors import EstimateError
from alignment_limits.limits import best_of_n
from alignment_limits.limits.best_of_n import corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.ranks import best_of_n_kl, best_of_n_means, best_of_n_weights, kl_bound, win_rates

NS = np.array([1, 2, 3, 5])


def enumerate_subsets(r: np.ndarray, v: np.ndarray, n: int) -> tuple[float, float]:
    """Gain and win rate over all n-subsets; tied picks equally likely, base sample from outside."""
    gains, wins = [], []
    for subset in combinations(range(len(r)), n):
        chosen = r[list(subset)]
        picks = [i for i in subset if r[i] == chosen.max()]
        gains.append(np.mean(v[picks]) - v.mean())
        outside = [j for j in range(len(r)) if j not in subset]
        if outside:
            wins.append(np.mean([(v[i] > v[j]) + 0.5 * (v[i] == v[j]) for i in picks for j in outside]))
    return float(np.mean(gains)), float(np.mean(wins)) if wins else np.nan


@pytest.mark.parametrize("ties", [False, True])
def test_gain_and_win_rate_equal_enumeration_of_all_subsets(ties: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        r = rng.integers(0, 4, 8).astype(float) if ties else rng.standard_normal(8)
        v = rng.integers(0, 3, 8).astype(float)
        weights = best_of_n_weights(r[None], NS)[0]
        wins = win_rates(r[None], v[None], NS)[0]
        for index, n in enumerate(NS):
            gain, win = enumerate_subsets(r, v, n)
            np.testing.assert_allclose(weights[:, index] @ (v - v.mean()), gain, atol=1e-12)
            np.testing.assert_allclose(wins[index], win, atol=1e-12)


def test_weights_equal_exact_integer_binomials_for_many_samples() -> None:
    m, n = 700, 40
    weights = best_of_n_weights(np.arange(m, dtype=float)[None], np.array([n]))[0, :, 0]
    exact = np.array([comb(i - 1, n - 1) / comb(m, n) for i in range(1, m + 1)])
    np.testing.assert_allclose(weights, exact, rtol=1e-10)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-11)


def brute_kl(p: np.ndarray, n: int) -> float:
    """KL of best-of-n for a discrete law with distinct rewards, by listing all n-tuples of outcomes."""
    q = np.zeros(len(p))
    for outcome in np.ndindex(*([len(p)] * n)):
        q[max(outcome)] += np.prod(p[list(outcome)])
    return float(np.sum(q * np.log(q / p)))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_kl_of_tied_scores_equals_enumeration_of_tuples(n: int) -> None:
    counts = np.array([2, 5, 3, 6])
    r = np.repeat(np.arange(4.0), counts)
    kl = best_of_n_kl(r[None], np.array([n]))[0, 0]
    np.testing.assert_allclose(kl, brute_kl(counts / counts.sum(), n), atol=1e-12)


def test_kl_without_ties_is_the_bound_and_with_ties_is_below_it() -> None:
    r = np.random.default_rng(0).standard_normal((3, 50))
    ns = np.array([1, 2, 8, 50])
    np.testing.assert_allclose(best_of_n_kl(r, ns), np.broadcast_to(kl_bound(ns), (3, 4)), rtol=1e-12)
    assert np.all(best_of_n_kl(np.round(r), ns)[:, 1:] < kl_bound(ns)[1:] - 1e-3)
    np.testing.assert_allclose(best_of_n_kl(np.zeros((1, 9)), np.array([2, 9])), 0, atol=1e-15)


def test_mixed_atoms_and_stretches_converge_to_the_discretised_law() -> None:
    """Half the mass tied at the bottom, half continuous: against a fine discrete law."""
    n, m = 4, 4000
    r = np.concatenate([np.zeros(m // 2), np.arange(1, m // 2 + 1)])
    kl = best_of_n_kl(r[None], np.array([n]))[0, 0]
    edges = np.concatenate([[0], np.linspace(0.5, 1, 200_001)])
    p, q = np.diff(edges), np.diff(edges**n)
    np.testing.assert_allclose(kl, np.sum(q * np.log(q / p)), atol=1e-5)


def test_gold_is_carried_along_the_proxy_order() -> None:
    """Correlated Gaussians: gold gain of best-of-n by proxy is rho times the expected maximum."""
    rng = np.random.default_rng(6)
    proxy = rng.standard_normal((800, 64))
    gold = 0.5 * proxy + np.sqrt(0.75) * rng.standard_normal(proxy.shape)
    table = best_of_n(proxy, {"gold": gold, "proxy": proxy}, ns=[2, 4])
    expected = np.array([1 / np.sqrt(np.pi), 1.0293753730])
    np.testing.assert_allclose(table["proxy"].gain, expected, rtol=0.01)
    assert np.all((table["gold"].gain_low <= 0.5 * expected) & (0.5 * expected <= table["gold"].gain_high))


def test_efficiency_matches_the_known_values_for_gaussian_rewards() -> None:
    r = np.random.default_rng(8).standard_normal((400, 256))
    for budget in ("average", "per-prompt"):
        table = best_of_n(r, {"own": r}, ns=[2, 4, 16], budget=budget)["own"]
        known = np.array([0.908, 0.913, 0.922])
        assert np.all((table.efficiency_low <= known + 5e-4) & (known - 5e-4 <= table.efficiency_high))
        np.testing.assert_allclose(table.win_rate, [2 / 3, 4 / 5, 16 / 17], rtol=1e-12)


def test_claims_against_the_limit_need_sixteen_samples_per_draw() -> None:
    r = np.random.default_rng(8).standard_normal((64, 64))
    table = best_of_n(r, {"own": r}, ns=[4, 8])["own"]
    assert table.reliable[0]
    assert "needs 16 n" in table.reason[1]


def test_per_prompt_limit_gives_each_prompt_what_best_of_n_spends_on_it() -> None:
    """With half the prompts constant, best-of-n spends on the others, and so does a fair limit."""
    r = np.random.default_rng(9).standard_normal((200, 256))
    r[::2] = 0.0
    table = best_of_n(r, {"own": r}, ns=[2, 4], budget="per-prompt")["own"]
    np.testing.assert_allclose(table.kl, kl_bound(np.array([2, 4])) / 2, rtol=1e-12)
    np.testing.assert_allclose(table.efficiency, [0.908, 0.913], rtol=0.02)


def test_n_one_is_the_base_law_and_n_m_the_maximum() -> None:
    r = np.random.default_rng(1).standard_normal((30, 16))
    table = best_of_n(r, {"own": r}, ns=[1, 16])["own"]
    np.testing.assert_allclose(table.gain, [0.0, (r.max(axis=1) - r.mean(axis=1)).mean()], atol=1e-12)
    assert table.kl[0] == 0
    assert np.isnan(table.win_rate[1])


def test_more_draws_than_samples_and_fractions_are_refused() -> None:
    r = np.random.default_rng(1).standard_normal((5, 16))
    r[3, 9:] = np.nan
    with pytest.raises(EstimateError, match="best-of-17: no prompt has more than 16"):
        best_of_n(r, {"own": r}, ns=[10, 17])
    for n in (1.5, 0, np.nan):
        with pytest.raises(EstimateError, match="whole numbers"):
            best_of_n(r, {"own": r}, ns=[n])


def test_ragged_prompts_equal_the_same_prompts_alone() -> None:
    rng = np.random.default_rng(2)
    r, v = rng.integers(0, 5, (2, 12)).astype(float), rng.standard_normal((2, 12))
    r[0, 7:] = v[0, 7:] = np.nan
    wins, kl = win_rates(r, v, NS), best_of_n_kl(r, NS)
    np.testing.assert_allclose(wins[0], win_rates(r[:1, :7], v[:1, :7], NS)[0], atol=1e-12)
    np.testing.assert_allclose(kl[0], best_of_n_kl(r[:1, :7], NS)[0], atol=1e-12)


def test_intervals_allow_for_few_prompts_behind_the_spread_where_samples_are_unequal() -> None:
    """No end is nearer than Student's; equal numbers of samples leave the bootstrap's interval as it is."""
    rng = np.random.default_rng(3)
    counts = rng.integers(2, 201, 64)
    scores = np.where(np.arange(200) < counts[:, None], rng.standard_normal((64, 200)), np.nan)
    table = best_of_n(scores, {"own": scores}, ns=[2], replicates=400)["own"]
    each = best_of_n_means(scores, centre(scores), np.array([2]))
    reach = student.ppf(0.975, 63) * each.std(ddof=1) / 8
    boot_low, boot_high = PromptBootstrap(64, replicates=400).interval(each)
    assert table.gain_low[0] == pytest.approx(min(boot_low[0], each.mean() - reach), rel=1e-4)
    assert table.gain_high[0] == pytest.approx(max(boot_high[0], each.mean() + reach), rel=1e-4)
    assert table.gain_high[0] - table.gain_low[0] > 1.01 * (boot_high[0] - boot_low[0])
    equal = scores[counts > 99, :100]
    table = best_of_n(equal, {"own": equal}, ns=[2], replicates=400)["own"]
    low, _ = PromptBootstrap(len(equal), replicates=400).interval(best_of_n_means(equal, centre(equal), np.array([2])))
    assert table.gain_low[0] == pytest.approx(low[0], rel=1e-12)


def test_tied_pick_weights_do_not_depend_on_order() -> None:
    r = np.array([1.0, 2.0, 2.0, 0.0])
    base = best_of_n_weights(r[None], np.array([2]))[0, :, 0]
    for order in permutations(range(4)):
        moved = best_of_n_weights(r[list(order)][None], np.array([2]))[0, :, 0]
        np.testing.assert_allclose(moved, base[list(order)], atol=1e-15)


def test_corrected_kl_of_quantised_scores_loses_the_bias_of_the_plug_in() -> None:
    rng = np.random.default_rng(12)
    r = (rng.random((4000, 48)) < 0.2) * 1.0
    ns = np.array([2, 3])
    q = 1 - 0.8**ns
    truth = q * np.log(q / 0.2) + (1 - q) * np.log((1 - q) / 0.8)
    plugin, corrected = best_of_n_kl(r, ns, np.ones(r.shape, bool)).mean(axis=0), corrected_kl(r, ns)[0].mean(axis=0)
    assert np.all(np.abs(corrected - truth) < 0.35 * np.abs(plugin - truth))
    untied = rng.standard_normal((3, 20))
    np.testing.assert_array_equal(corrected_kl(untied, ns)[0], best_of_n_kl(untied, ns))


def test_bernoulli_best_of_n_is_the_limit_itself() -> None:
    r = (np.random.default_rng(13).random((300, 128)) < 0.2) * 1.0
    table = best_of_n(r, {"own": r}, ns=[2, 4])["own"]
    np.testing.assert_allclose(table.efficiency, 1, atol=0.004)
    assert np.all(table.efficiency_low <= 1)

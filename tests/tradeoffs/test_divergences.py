"""Limits in other divergences than KL: closed forms, enumeration by a convex solver, coverage, verdicts, odd inputs."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import ndtri

from alignment_limits.errors import EstimateError
from alignment_limits.limits import frontier
from alignment_limits.limits.relatives import chi2_weights
from alignment_limits.tradeoffs import Divergence, divergence_limit
from alignment_limits.tradeoffs.divergence_limits import UNSEEN, UNSHOWN

FEW = {"replicates": 200}
POWERS = ["chi2", "renyi-0.5", "renyi-1", "renyi-1.5", "renyi-3", "reverse-kl"]


def spent(p, name):
    """A divergence of density ratios p (prompts, replies), by its definition; of the joint laws where they differ."""
    order = Divergence.of(name).order
    if name == "chi2":
        return np.mean((p - 1) ** 2)
    if name == "reverse-kl":
        return -np.mean(np.log(p))
    if name == "total-variation":
        return np.mean(np.abs(p - 1)) / 2
    if order == 1:
        return np.mean(p * np.log(np.maximum(p, 1e-300)))
    return np.log(np.mean(p**order)) / (order - 1)


def solved(r, name, budget):
    """The limit of a world whose replies (prompts, replies) are all listed and equally likely, by a convex solver."""
    shape = r.shape
    limits = [
        {"type": "eq", "fun": lambda x: x.reshape(shape).mean(axis=1) - 1},
        {"type": "ineq", "fun": lambda x: budget - spent(x.reshape(shape), name)},
    ]
    start = 1 + 0.01 * (r - r.mean(axis=1, keepdims=True))
    found = minimize(
        lambda x: -np.mean(x.reshape(shape) * r),
        start.ravel(),
        bounds=[(1e-12, None)] * r.size,
        constraints=limits,
        options={"maxiter": 1000, "ftol": 1e-15},
    )
    return -found.fun - r.mean()


@pytest.mark.parametrize("name", POWERS)
def test_the_plugin_limit_is_that_of_a_convex_solver(name):
    r = np.random.default_rng(0).normal(size=(2, 4))
    table = divergence_limit(r, name, spent=[0.1, 0.3], **FEW)
    alone = divergence_limit(r[:1], name, spent=[0.3], budget="per-prompt", **FEW)
    assert table.gain_plugin[0] == pytest.approx(solved(r, name, 0.1), abs=2e-6)
    assert table.gain_plugin[1] == pytest.approx(solved(r, name, 0.3), abs=2e-6)
    assert alone.gain_plugin[0] == pytest.approx(solved(r[:1], name, 0.3), abs=2e-6)


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_total_variation_moves_the_worst_to_the_best(budget):
    r = np.array([[0.0, 1.0, 2.0, 10.0], [5.0, 5.0, 5.0, 6.0]])
    table = divergence_limit(r, "total-variation", spent=[0.125, 0.25, 0.375], budget=budget, **FEW)
    alone = [(10 / 8 + 1 / 8) / 2, (10 / 4 + 1 / 4) / 2, (10 / 4 + 9 / 8 + 3 / 8) / 2]
    together = [10 / 8, (10 + 9) / 8, (10 + 9 + 8) / 8]
    np.testing.assert_allclose(table.gain_plugin, alone if budget == "per-prompt" else together, rtol=1e-12)


def test_the_largest_ratio_takes_the_best_share():
    r = np.arange(8.0)[None]
    table = divergence_limit(r, "renyi-inf", spent=np.log([2.0, 8 / 3]), budget="per-prompt", **FEW)
    np.testing.assert_allclose(table.gain_plugin, [5.5 - 3.5, 6.0 - 3.5], rtol=1e-12)


def test_order_1_is_the_frontier_of_kl():
    r = np.random.default_rng(1).normal(size=(40, 48)) * np.linspace(0.5, 2, 40)[:, None]
    own, other = divergence_limit(r, "renyi-1", spent=[0.2, 1.0], **FEW), frontier(r, kls=[0.2, 1.0], **FEW)
    for mine, its in ((own.gain, other.gain), (own.gain_low, other.gain_low), (own.gain_plugin, other.gain_plugin)):
        np.testing.assert_allclose(mine, its, rtol=1e-5)
    np.testing.assert_array_equal(own.reason, other.gain_reason)


def test_chi_squared_gains_root_chi_squared_times_the_spread_until_a_probability_is_0():
    r = np.random.default_rng(2).uniform(size=(30, 32))
    sd = np.sqrt(r.var(axis=1))
    joint, alone = (divergence_limit(r, "chi2", spent=[0.09], budget=b, **FEW) for b in ("average", "per-prompt"))
    assert joint.gain_plugin[0] == pytest.approx(0.3 * np.sqrt(np.mean(sd**2)), rel=1e-9)
    assert alone.gain_plugin[0] == pytest.approx(0.3 * np.mean(sd), rel=1e-9)
    same = divergence_limit(r, "renyi-2", spent=[np.log1p(0.09)], **FEW)
    assert same.gain[0] == pytest.approx(joint.gain[0], rel=1e-9)


def test_chi_squared_is_that_of_pessimism():
    r = np.random.default_rng(3).normal(size=(20, 32))
    weights = chi2_weights(r, np.array([0.7]))[:, :, 0]
    chi2 = np.mean(32 * weights * 32 * weights) - 1
    gain = np.mean((weights * r).sum(axis=1) - r.mean(axis=1))
    table = divergence_limit(r, "chi2", spent=[chi2], **FEW)
    assert table.gain_plugin[0] == pytest.approx(gain, rel=1e-9)


@pytest.mark.parametrize(
    "name", ["chi2", "renyi-0.5", "renyi-1", "renyi-3", "renyi-inf", "reverse-kl", "total-variation"]
)
def test_best_of_n_spends_what_its_density_says(name):
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (2, 5):
        p = (n * u ** (n - 1))[None]
        expected = np.log(p.max()) if name == "renyi-inf" else spent(p, name)
        assert Divergence.of(name).of_best_of_n(np.array([n]))[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["chi2", "renyi-inf", "renyi-1.5"])
def test_intervals_cover_the_limits_of_gaussian_rewards(name):
    kind, r = Divergence.of(name), ndtri((np.arange(20_000) + 0.5) / 20_000)[None]
    budget = "per-prompt" if name == "renyi-inf" else "average"
    known = divergence_limit(r, name, ns=[2, 4], budget=budget, **FEW).gain_plugin
    gains, inside = [], []
    for seed in range(12):
        table = divergence_limit(
            np.random.default_rng(seed).normal(size=(48, 48)), name, ns=[2, 4], budget=budget, **FEW
        )
        assert table.reliable.all()
        assert (table.best_of_n < table.gain_high).all()
        gains.append(table.gain)
        inside.append((table.gain_low <= known) & (known <= table.gain_high))
    assert np.mean(inside) >= 0.85
    np.testing.assert_allclose(np.mean(gains, axis=0), known, atol=0.012)
    assert kind.finite


def test_limits_that_depend_on_the_best_reply_need_its_score():
    rng = np.random.default_rng(4)
    r = rng.normal(size=(32, 48))
    for name in ("renyi-0.5", "reverse-kl", "total-variation"):
        table = divergence_limit(r, name, ns=[2], **FEW)
        assert table.reason[0] == UNSEEN
        assert table.at_least[0] > 0
    passes = (rng.random((32, 48)) < rng.uniform(0.2, 0.8, (32, 1))).astype(float)
    assert divergence_limit(passes, "total-variation", ns=[2], **FEW).reason[0] == UNSEEN
    known = divergence_limit(passes, "total-variation", ns=[2], budget="per-prompt", bounds=(0, 1), **FEW)
    assert known.reliable[0]
    moved = np.minimum(0.25, 1 - passes.mean(axis=1)).mean()  # the whole share, unless fewer fail
    assert known.gain[0] == pytest.approx(moved, rel=1e-12)


def test_budgets_beyond_the_samples_are_refused():
    r = np.random.default_rng(5).normal(size=(32, 16))
    table = divergence_limit(r, "chi2", spent=[1.0, 40.0], **FEW)
    assert np.isnan(table.gain[1])
    assert table.reason[1] == UNSHOWN
    assert divergence_limit(np.ones((32, 16)), "chi2", ns=[2], **FEW).reason[0].startswith("constant reward")


def test_tied_scores_and_unequal_counts():
    rng = np.random.default_rng(6)
    marks = rng.integers(1, 6, (32, 48)).astype(float)
    for name in POWERS:
        for budget in ("average", "per-prompt"):
            table = divergence_limit(marks, name, ns=[2, 4], budget=budget, **FEW)
            assert (np.diff(table.gain) > 0).all()
            assert np.isnan(table.best_of_n).all()
            assert (table.gain_plugin <= 5 - marks.mean() + 1e-9).all()
    some = np.where(np.arange(48) < rng.integers(2, 49, 32)[:, None], marks, np.nan)
    assert np.isfinite(divergence_limit(some, "renyi-3", ns=[2], budget="per-prompt", **FEW).gain).all()


def test_units_and_order_of_prompts_change_nothing_else():
    r = np.random.default_rng(7).normal(size=(24, 32))
    first = divergence_limit(r, "renyi-1.5", ns=[4], keys=np.arange(24), **FEW)
    scaled = divergence_limit(1e6 * r - 3, "renyi-1.5", ns=[4], keys=np.arange(24), **FEW)
    np.testing.assert_allclose(scaled.gain_high, 1e6 * first.gain_high, rtol=1e-7)
    rows = np.random.default_rng(0).permutation(24)
    moved = divergence_limit(r[rows][:, ::-1], "renyi-1.5", ns=[4], keys=rows, **FEW)
    np.testing.assert_allclose(moved.gain_low, first.gain_low, rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"divergence": "chi"}, "Unknown divergence 'chi'"),
        ({"divergence": "renyi--1"}, "Unknown divergence"),
        ({"divergence": "renyi-inf", "ns": [2]}, "per-prompt budget only"),
        ({"divergence": "total-variation", "spent": [1.0]}, "above 0 and below 1"),
        ({"divergence": "chi2", "ns": [1]}, "whole numbers above 1"),
        ({"divergence": "chi2"}, "give ns or spent"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, said):
    with pytest.raises(EstimateError, match=said):
        divergence_limit(np.random.default_rng(0).normal(size=(4, 8)), **settings)

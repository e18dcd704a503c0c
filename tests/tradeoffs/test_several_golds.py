"""Several golds: closed forms and enumeration of fronts, constraints and the worst gold; coverage; odd inputs."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize, minimize_scalar

from alignment_limits.errors import EstimateError
from alignment_limits.limits import frontier
from alignment_limits.tradeoffs import constrained_limit, pareto_front, worst_case_limit
from alignment_limits.tradeoffs.compromises import ABOVE, WORST, Support
from alignment_limits.tradeoffs.several_golds import COMBINED, check_weights, simplex

COVARIANCE = np.array([[1.0, 0.3, -0.4], [0.3, 1.0, 0.0], [-0.4, 0.0, 1.0]])
NAMES = ["a", "b", "c"]
FEW = {"replicates": 200}


def gaussian(seed, prompts=64, samples=64, covariance=COVARIANCE):
    """Jointly Gaussian rewards of mean 0, the same for all prompts."""
    draws = np.random.default_rng(seed).standard_normal((prompts, samples, 3)) @ np.linalg.cholesky(covariance).T
    return dict(zip(NAMES, np.moveaxis(draws, -1, 0), strict=True))


def front_of(weights, kl):
    """Gains on the front of jointly Gaussian rewards: √(2κ) Σw / √(wᵀΣw)."""
    return np.sqrt(2 * kl) * COVARIANCE @ weights / np.sqrt(weights @ COVARIANCE @ weights)


def row(table, name, column="gain"):
    return getattr(table, column)[table.evaluated == name]


def test_the_grid_has_every_weighting_once():
    grid = simplex(3, 4)
    assert grid.shape == (15, 3)
    assert len({tuple(w) for w in grid}) == 15
    np.testing.assert_allclose(grid.sum(axis=1), 1.0)
    np.testing.assert_allclose(check_weights([[2, 2, 0]], 3), [[0.5, 0.5, 0.0]])


def test_the_front_of_gaussian_rewards_is_the_arc_of_an_ellipse():
    weights = np.array([[1, 0, 0], [1, 1, 0], [1, 2, 3]]) / np.array([[1], [2], [6]])
    inside, gains = [], []
    truth = np.array([[*front_of(w, 0.5), w @ front_of(w, 0.5)] for w in weights]).ravel()
    for seed in range(10):
        table = pareto_front(gaussian(seed, 48, 48), [0.5], weights=weights, **FEW)
        inside.append((table.gain_low <= truth) & (truth <= table.gain_high))
        gains.append(table.gain)
    assert np.mean(inside) >= 0.9
    np.testing.assert_allclose(np.mean(gains, axis=0), truth, atol=0.03)


def test_rows_of_the_front_are_those_of_the_frontier_of_the_weighted_sum():
    golds = gaussian(1, 32, 32)
    table = pareto_front(golds, [0.3, 1.0], weights=[[0.25, 0.75, 0.0]], **FEW)
    combined = 0.25 * golds["a"] + 0.75 * golds["b"]
    expected = frontier(combined, golds | {COMBINED: combined}, kls=[0.3, 1.0], **FEW)
    for name, of in expected.items():
        np.testing.assert_array_equal(row(table, name), of.gain)
        np.testing.assert_array_equal(row(table, name, "gain_high"), of.gain_high)
        np.testing.assert_array_equal(row(table, name, "reliable"), of.gain_reliable)


def test_no_gain_of_one_gold_is_larger_elsewhere_on_the_front_without_a_smaller_one_of_another():
    table = pareto_front({k: v for k, v in gaussian(2).items() if k != "b"}, [1.0], **FEW)
    a, c = row(table, "a"), row(table, "c")
    assert (np.diff(a) < 0.01).all()  # the first gold's weight falls
    assert (np.diff(c) > -0.01).all()


def test_best_of_n_by_a_weighted_sum_lies_within_the_front_at_its_kl():
    golds = gaussian(3, 48, 64)
    table = pareto_front(golds, [1.0], weights=[[1, 1, 1]], ns=[1, 4], **FEW)
    rows = table.to_polars().filter((pl.col("method") == "best-of-n") & (pl.col("evaluated") == COMBINED))
    assert rows["gain"][0] == 0.0
    assert rows["kl"][1] == pytest.approx(np.log(4) - 3 / 4)
    w = np.full(3, 1 / 3)
    assert rows["gain"][1] == pytest.approx(1.0294 * np.sqrt(w @ COVARIANCE @ w), abs=0.03)


def primal(rewards, kappa, bound=None):
    """The largest worst gain, or gain of the first reward under a bound of the second, over all laws."""
    prompts, replies = rewards[0].shape
    away = [r - r.mean(axis=1, keepdims=True) for r in rewards]

    def law(x):
        return np.exp(x[:-1].reshape(prompts, replies)) / np.exp(x[:-1].reshape(prompts, replies)).sum(1, keepdims=True)

    def gain(x, r):
        return float((law(x) * r).sum(axis=1).mean())

    def spent(x):
        p = law(x)
        return float((p * np.log(p * replies)).sum(axis=1).mean())

    limits = [{"type": "ineq", "fun": lambda x: kappa - spent(x)}]
    if bound is None:
        limits += [{"type": "ineq", "fun": lambda x, r=r: gain(x, r) - x[-1]} for r in away]
        start = np.zeros(prompts * replies + 1)
        return -minimize(lambda x: -x[-1], start, constraints=limits, options={"maxiter": 500, "ftol": 1e-13}).fun
    limits += [{"type": "ineq", "fun": lambda x: bound - gain(x, away[1])}]
    start = np.append(0.1 * away[0].ravel(), 0.0)
    return -minimize(
        lambda x: -gain(x, away[0]), start, constraints=limits, options={"maxiter": 500, "ftol": 1e-13}
    ).fun


@pytest.mark.parametrize("bound", [None, -0.1])
def test_the_dual_is_the_primal_of_a_world_whose_replies_are_all_listed(bound):
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 2, 4))
    kappa, support = 0.3, Support({"a": a, "b": b}, budget="average", seed=0, keys=None)

    def dual(x):
        z = np.array([x, 1 - x]) if bound is None else np.array([1.0, -x])
        points = support.at(z, kappa)[1]
        return float(z @ points.levels[0, 0, 1:]) + (0.0 if bound is None else x * bound)

    grid = np.linspace(0, 1 if bound is None else 5, 41)
    best = grid[int(np.argmin([dual(x) for x in grid]))]
    step = grid[1]
    low, high = max(best - step, 0.0), best + step
    for _ in range(60):
        left, right = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, right) if dual(left) < dual(right) else (left, high)
    x = (low + high) / 2
    assert dual(x) == pytest.approx(primal([a, b], kappa, bound), abs=2e-6)
    z = np.array([x, 1 - x]) if bound is None else np.array([1.0, -x])
    away = z[0] * a + z[1] * b
    away = away - away.mean(axis=1, keepdims=True)
    own = minimize_scalar(
        lambda beta: beta * kappa + beta * np.log(np.exp(away / beta).mean(axis=1)).mean(),
        bounds=(0.05, 50),
        method="bounded",
        options={"xatol": 1e-10},
    ).fun
    assert dual(x) == pytest.approx(own + (0.0 if bound is None else x * bound), abs=1e-9)


def test_limits_under_a_constraint_cover_the_closed_form():
    # max a with b at most c: min over μ of μ c + √(2κ) |(1, -μ)|
    kl, bound = 0.5, -0.2
    rho = COVARIANCE[0, 1]
    size = np.sqrt(2 * kl)
    truth = rho * bound + np.sqrt((1 - rho**2) * (size**2 - bound**2))
    inside, gains = [], []
    for seed in range(10):
        golds = gaussian(seed, 48, 48)
        table = constrained_limit({"a": golds["a"]}, {"b": golds["b"]}, {"b": bound}, [kl], **FEW)
        assert table.reliable.all()
        assert row(table, "b") == bound
        inside.append(row(table, "a", "gain_low")[0] <= truth <= row(table, "a", "gain_high")[0])
        gains.append(row(table, "a")[0])
    assert np.mean(inside) >= 0.8
    assert np.mean(gains) == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_the_worst_gold_of_gaussian_rewards_is_the_smallest_norm_of_a_weighting(budget):
    best = minimize(
        lambda w: w @ COVARIANCE @ w,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}],
    ).x
    truth = np.sqrt(2 * 0.5 * best @ COVARIANCE @ best)
    gains, inside = [], []
    for seed in range(8 if budget == "average" else 2):
        table = worst_case_limit(gaussian(seed, 48, 48), [0.5], budget=budget, **FEW)
        gains.append(row(table, WORST)[0])
        inside.append(row(table, WORST, "gain_low")[0] <= truth <= row(table, WORST, "gain_high")[0])
        np.testing.assert_allclose([row(table, name)[0] for name in NAMES], gains[-1])
    assert np.mean(inside) >= 0.5
    assert np.mean(gains) == pytest.approx(truth, abs=0.015)


def test_a_gold_above_the_worst_has_weight_0_and_no_reliable_interval():
    golds = gaussian(5, 32, 48, np.array([[1.0, -0.5, 0.6], [-0.5, 1.0, 0.6], [0.6, 0.6, 9.0]]))
    table = worst_case_limit(golds, [0.5], **FEW)
    assert row(table, "c", "weight") == 0.0
    assert row(table, "c") > row(table, WORST)
    assert row(table, "c", "reason") == ABOVE
    assert row(table, WORST, "reliable")


def test_a_constraint_that_does_not_bind_costs_nothing():
    golds = gaussian(6, 32, 48)
    table = constrained_limit({"a": golds["a"]}, {"c": golds["c"]}, {"c": 0.3}, [0.5], **FEW)
    own = frontier(golds["a"], {"a": golds["a"], "c": golds["c"]}, kls=[0.5], **FEW)
    assert row(table, "a") == pytest.approx(own["a"].gain)
    assert row(table, "a", "gain_low") == pytest.approx(own["a"].gain_low)
    assert row(table, "c") == pytest.approx(own["c"].gain)
    assert row(table, "a", "price") == pytest.approx(0.0, abs=1e-12)
    assert row(table, "c", "weight") == 0.0


def test_a_constraint_that_no_policy_keeps_is_refused_with_what_is_possible():
    golds = gaussian(7, 32, 48)
    table = constrained_limit({"a": golds["a"]}, {"b": golds["b"]}, {"b": -2.0}, [0.5, 3.0], **FEW)
    assert not table.reliable[:2].any()
    assert np.isnan(table.gain[0])
    assert table.reason[0].startswith("no policy within this KL changes 'b' by -2 or less (the least is -1")
    near = constrained_limit({"a": golds["a"]}, {"b": golds["b"]}, {"b": -1.0}, [0.5], **FEW)
    assert near.reason[0].startswith("it is not clear whether a policy within this KL changes 'b' by -1 or less")


def test_units_prompts_order_and_clusters_change_nothing_else():
    golds = gaussian(8, 32, 32)
    first = worst_case_limit(golds, [0.5], keys=np.arange(32), **FEW)
    scaled = worst_case_limit({k: 1000 * v + 7 for k, v in golds.items()}, [0.5], keys=np.arange(32), **FEW)
    np.testing.assert_allclose(scaled.gain, 1000 * first.gain, rtol=1e-6)
    rows = np.random.default_rng(0).permutation(32)
    moved = worst_case_limit({k: v[rows] for k, v in golds.items()}, [0.5], keys=rows, **FEW)
    np.testing.assert_allclose(moved.gain_low, first.gain_low, rtol=1e-6)


def test_odd_worlds_have_an_answer_or_a_reason():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(2, 24, 32))
    some = np.arange(32) < rng.integers(2, 33, 24)[:, None]
    unequal = worst_case_limit({"a": np.where(some, a, np.nan), "b": np.where(some, b, np.nan)}, [0.5], **FEW)
    assert np.isfinite(unequal.gain).all()
    opposite = worst_case_limit({"a": a, "b": -a}, [0.5], **FEW)
    np.testing.assert_allclose(opposite.gain, 0.0, atol=1e-9)
    one = worst_case_limit({"a": a[:1], "b": b[:1]}, [0.5], **FEW)
    assert set(one.reason) == {"only 1 prompt (needs 16)"}
    flat = worst_case_limit({"a": np.ones((24, 32)), "b": b}, [0.5], **FEW)
    assert not flat.reliable.any()
    beyond = worst_case_limit({"a": a, "b": b}, [9.0], **FEW)
    assert np.isnan(beyond.gain).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a, b: pareto_front({"a": a}, [1]), "2 to 4 golds, not 1"),
        (lambda a, b: pareto_front({"a": a, "b": b}, [1], weights=[[1, -1]]), "must be at least 0"),
        (lambda a, b: pareto_front({"a": a, "b": b}, [1], weights=[[1, 1, 1]]), r"expected \(points, 2\)"),
        (lambda a, b: worst_case_limit({"a": a, "b": b[:, :3]}, [1]), "'b' have shape"),
        (lambda a, b: constrained_limit({"a": a}, {"b": b}, {"c": 0}, [1]), "Give each of b one finite bound"),
        (lambda a, b: constrained_limit({"a": a}, {"a": b}, {"a": 0}, [1]), "optimised and constrained"),
    ],
)
def test_what_cannot_be_used_is_named(call, said):
    a, b = np.random.default_rng(0).normal(size=(2, 4, 8))
    with pytest.raises(EstimateError, match=said):
        call(a, b)

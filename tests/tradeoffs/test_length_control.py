"""Length held fixed: closed forms, a convex solver in an enumerable world, identities, coverage, hard inputs."""

import numpy as np
import pytest
import scipy

from alignment_limits.errors import EstimateError
from alignment_limits.limits import frontier
from alignment_limits.tradeoffs import length_control
from alignment_limits.tradeoffs.length_control import solve


def world(rng, prompts=64, samples=64, corr=0.6):
    """Reward of spread 1 and length of spread 10, jointly Gaussian with this correlation."""
    f, rest = rng.normal(size=(2, prompts, samples))
    return corr * f + np.sqrt(1 - corr**2) * rest, 50 + 10 * f


def test_intervals_cover_the_closed_forms_of_a_gaussian_world():
    kl = np.array([0.1, 1.0])
    truth = {"lost": 0.2, "explained": 0.36, "gain": 0.8 * np.sqrt(2 * kl)}
    inside = {name: [] for name in truth}
    for seed in range(12):
        table = length_control(*world(np.random.default_rng(seed)), kls=kl, replicates=200)
        assert table.gain_reliable[:4].all()
        for name, rows in (
            ("lost", table.tilt == "held"),
            ("explained", table.tilt == "free"),
            ("gain", table.tilt == "held"),
        ):
            low, high = (getattr(table, f"{name}_{end}")[rows] for end in ("low", "high"))
            inside[name].append((low <= truth[name]) & (truth[name] <= high))
    assert {name: np.mean(each) >= 0.8 for name, each in inside.items()} == dict.fromkeys(truth, True)


def test_the_explained_share_has_the_lower_end_of_one_minus_a_variance():
    """With spreads s of prompts it is corr² (E s)² / E s²: studies whose prompts happen to be alike are too high."""
    corr, log_sd, inside = 0.6, 0.3, []
    for seed in (11, 65, 92):  # too high by chance
        rng = np.random.default_rng((seed, 7))
        reward, length = world_of_spreads(rng, corr, log_sd)
        table = length_control(reward, length, kls=[0.1], replicates=500)
        inside.append(table.explained_low[0] <= corr**2 * np.exp(-(log_sd**2)) <= table.explained_high[0])
    assert sum(inside) >= 2


def world_of_spreads(rng, corr, log_sd):
    f, rest = rng.normal(size=(2, 64, 64))
    scale = np.exp(log_sd * rng.normal(size=(64, 1)))
    return scale * (corr * f + np.sqrt(1 - corr**2) * rest), 10 * f


def test_the_plug_in_is_the_optimum_of_a_convex_program():
    """Four prompts whose replies are all listed: the largest mean reward with KL and mean length constrained."""
    rng = np.random.default_rng(0)
    r, f, kl = rng.normal(size=(4, 6)), rng.normal(size=(4, 6)), 0.3
    beta, weight = solve(r, f, kl, (1.0, 0.0))
    c = (r + weight * f) / beta
    w = np.exp(c) / np.exp(c).sum(1, keepdims=True)
    spent = np.mean(np.sum(w * np.log(6 * w), axis=1))
    np.testing.assert_allclose([spent, np.mean(np.sum(w * f, 1) - f.mean(1))], [kl, 0.0], atol=1e-7)

    def of(x):
        e = np.exp(x.reshape(4, 6))
        return e / e.sum(1, keepdims=True)

    limits = [
        {"type": "ineq", "fun": lambda x: kl - np.mean(np.sum(of(x) * np.log(6 * of(x)), axis=1))},
        {"type": "eq", "fun": lambda x: np.mean(np.sum(of(x) * f, axis=1) - f.mean(1))},
    ]
    best = scipy.optimize.minimize(
        lambda x: -np.mean(np.sum(of(x) * r, axis=1)), np.zeros(24), constraints=limits, tol=1e-12
    )
    assert np.mean(np.sum(w * r, axis=1)) == pytest.approx(-best.fun, abs=1e-6)


def test_the_free_tilt_is_the_frontier():
    reward, length = world(np.random.default_rng(1))
    table = length_control(reward, length, kls=[0.2, 0.8], replicates=200)
    limit = frontier(reward, {"r": reward, "f": length}, kls=[0.2, 0.8], replicates=200)
    for name, column in (("gain", "r"), ("change", "f")):
        for end in ("", "_low", "_high"):
            ours = getattr(table, name + end)[table.tilt == "free"]
            np.testing.assert_allclose(ours, getattr(limit[column], f"gain{end}"), rtol=1e-6)


def test_gain_under_length_control_is_below_the_limit_and_above_that_of_other_weights():
    reward, length = world(np.random.default_rng(2), 32, 32)
    reward = reward + 0.02 * (length - 50) ** 2  # not linear, so that the slope is not the weight
    table = length_control(reward, length, kls=[0.3, 1.0], replicates=200)
    free, held = (table.gain[table.tilt == tilt] for tilt in ("free", "held"))
    assert (held <= free + 1e-9).all()
    assert (table.change[table.tilt == "held"] == 0).all()
    for factor in (0.4, 1.6):  # the limit is the smallest over weights
        weight = factor * table.weight[table.tilt == "held"][1]
        other = frontier(reward + weight * length, kls=[1.0], replicates=200).gain[0]
        assert other > held[1] - 1e-3


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (-1.0, 3.0)])
def test_units_of_the_column_change_nothing_but_its_own_columns(scale, shift):
    reward, length = world(np.random.default_rng(3), 32, 32)
    one, other = (length_control(reward, f, kls=[0.3], replicates=200) for f in (length, scale * length + shift))
    np.testing.assert_allclose(other.gain, one.gain, rtol=1e-6)
    np.testing.assert_allclose(other.lost_low, one.lost_low, rtol=1e-5)
    np.testing.assert_allclose(other.change, scale * one.change, rtol=1e-5)
    np.testing.assert_allclose(other.weight, one.weight / scale, rtol=1e-5)


def test_gold_under_a_proxy_that_likes_length():
    """The proxy is gold and length; gold ignores length. Held, the proxy's tilt is gold's own."""
    rng = np.random.default_rng(4)
    gold, f = rng.normal(size=(2, 200, 64))
    table = length_control(gold + f, f, gold, kls=[0.5], replicates=200)
    free, held = table.gain[0], table.gain[1]
    assert free == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert held == pytest.approx(1.0, abs=0.03)
    assert table.lost[1] < -0.3
    assert np.isnan(table.explained).all()


def test_gold_that_bends_is_judged_as_on_a_frontier():
    """Gold is z − 0.3 z² of the proxy z, and length is independent of both: held or not, its gain is m − 0.3 m²."""
    kl, inside = 1.5, []
    for seed in range(6):
        z, f, rest = np.random.default_rng(seed).normal(size=(3, 64, 64))
        gold = z - 0.3 * z**2 + rest
        table = length_control(z, f, gold, kls=[kl], replicates=200)
        limit = frontier(z, {"gold": gold}, kls=[kl], replicates=200)["gold"]
        assert table.gain_reason[0] == limit.gain_reason[0]
        np.testing.assert_allclose(table.gain_high[0], limit.gain_high, rtol=1e-6)
        inside.append((table.gain_low <= np.sqrt(2 * kl) - 0.6 * kl) & (np.sqrt(2 * kl) - 0.6 * kl <= table.gain_high))
    assert (np.mean(inside, axis=0) >= 0.8).all()


def test_missing_lengths_and_unequal_counts_and_ties():
    rng = np.random.default_rng(5)
    reward, length = world(rng, 64, 48)
    reward, length = np.round(2 * reward), np.round(length)
    reward[:20, 30:] = np.nan
    reward[3] = np.where(np.isnan(reward[3]), np.nan, 1.0)
    length = np.where(rng.random(length.shape) < 0.1, np.nan, length)
    length[7] = np.nan
    table = length_control(reward, length, kls=[0.2, 0.5], replicates=200)
    assert table.reliable.all()
    assert (np.abs(table.lost[table.tilt == "held"] - 0.19) < 0.08).all()


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (np.ones((8, 16)), "column does not differ"),
        (np.full((8, 16), np.nan), "no value at any sample"),
        (np.ones((8, 2)), "has shape"),
    ],
)
def test_bad_columns_are_named(length, said):
    with pytest.raises(EstimateError, match=said):
        length_control(np.random.default_rng(0).normal(size=(8, 16)), length, kls=[0.1])

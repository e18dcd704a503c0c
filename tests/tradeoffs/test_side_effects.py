"""Side effects: closed forms, coverage, rare and constant and missing columns, policies."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import best_of_n, frontier
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.tradeoffs import side_effects
from alignment_limits.tradeoffs.side_effects import CONSTANT, of_policy

MAX_OF_FOUR = 1.0293753730  # mean of the largest of 4 standard normal draws


def world(rng, prompts=64, samples=64, corr=0.6):
    """Reward and length, jointly Gaussian with this correlation; sd 1 and 10 tokens."""
    length, rest = rng.normal(size=(2, prompts, samples))
    return corr * length + np.sqrt(1 - corr**2) * rest, 50 + 10 * length


def test_intervals_cover_the_closed_forms_of_a_gaussian_world():
    kls, ns = [0.1, 1.0], [4]
    truth = np.array([6.0 * np.sqrt(2 * kl) for kl in kls] + [6.0 * MAX_OF_FOUR])
    inside, bias, studies = [], [], 24
    for seed in range(studies):
        reward, length = world(np.random.default_rng(seed))
        table = side_effects(reward, {"tokens": length}, kls=kls, ns=ns, replicates=200)
        assert table.reliable.all()
        inside.append((table.change_low <= truth) & (truth <= table.change_high))
        bias.append(table.change - truth)
    assert np.mean(inside) >= 0.88
    assert (np.abs(np.mean(bias, axis=0)) < 3 * np.std(bias, axis=0) / np.sqrt(studies) + 0.03).all()


def test_changes_are_gains_of_another_reward():
    reward, length = world(np.random.default_rng(1))
    table = side_effects(reward, {"tokens": length}, kls=[0.5], ns=[2, 8], replicates=200)
    tilted = frontier(reward, {"tokens": length}, kls=[0.5], replicates=200)["tokens"]
    picked = best_of_n(reward, {"tokens": length}, ns=[2, 8], replicates=200)["tokens"]
    np.testing.assert_allclose(table.change, np.concatenate([tilted.gain, picked.gain]), rtol=1e-12)
    np.testing.assert_allclose(table.change_low, np.concatenate([tilted.gain_low, picked.gain_low]), rtol=1e-9)
    np.testing.assert_allclose(table.kl, [0.5, *picked.kl], rtol=1e-12)


def test_units_are_the_columns_own():
    reward, length = world(np.random.default_rng(2), 32, 32)
    one, other = (
        side_effects(reward, {"l": c}, kls=[0.3], ns=[2], replicates=200) for c in (length, 1000 * length + 7)
    )
    np.testing.assert_allclose(other.change, 1000 * one.change, rtol=1e-9)
    np.testing.assert_allclose(other.base, 1000 * one.base + 7, rtol=1e-9)


def test_rare_and_constant_columns_are_refused():
    rng = np.random.default_rng(3)
    reward = rng.normal(size=(64, 64))
    rare = (rng.random(reward.shape) < 0.002).astype(float)
    common = (reward + rng.normal(size=reward.shape) > 0).astype(float)
    table = side_effects(reward, {"rare": rare, "none": 0 * rare, "common": common}, kls=[1.0], ns=[32], replicates=200)
    verdicts = {name: table.reliable[table.column == name].tolist() for name in ("rare", "none", "common")}
    assert verdicts == {"rare": [False] * 2, "none": [False] * 2, "common": [True] * 2}
    assert set(table.reason[table.column == "none"]) == {CONSTANT}


def test_missing_values_of_a_column_leave_the_samples_out_for_this_column_only():
    rng = np.random.default_rng(4)
    reward, length = world(rng, 64, 64)
    some = np.where(rng.random(reward.shape) < 0.2, np.nan, length)
    some[3] = np.nan  # a prompt without any
    every = side_effects(reward, {"all": length, "some": some}, kls=[0.2], ns=[2, 64], replicates=200)
    alone = side_effects(reward, {"all": length}, kls=[0.2], ns=[2, 64], replicates=200)
    np.testing.assert_array_equal(every.change[:3], alone.change)
    assert (every.samples[:3] == reward.size).all()
    assert (every.samples[3:] == np.isfinite(some).sum()).all()
    assert abs(every.change[3] - every.change[0]) < 0.5
    assert np.isnan(every.change[-1])
    assert every.reason[-1] == "no prompt has enough samples"


def test_results_do_not_depend_on_the_order_of_prompts_and_samples():
    rng = np.random.default_rng(5)
    reward, length = world(rng, 32, 32)
    keys = np.arange(32)
    first = side_effects(reward, {"l": length}, kls=[0.3], ns=[4], replicates=200, keys=keys)
    rows, order = rng.permutation(32), rng.permutation(32)
    moved = reward[rows][:, order], {"l": length[rows][:, order]}
    second = side_effects(*moved, kls=[0.3], ns=[4], replicates=200, keys=keys[rows])
    np.testing.assert_allclose(first.change_low, second.change_low, rtol=1e-9)


def test_a_policy_is_compared_on_the_same_prompts():
    rng = np.random.default_rng(6)
    own = rng.normal(size=(64, 1))
    base, policy = own + rng.normal(size=(64, 32)), own + 1 + rng.normal(size=(64, 8))
    table = of_policy("tokens", base, policy, (1.0, 0.9, 1.1), "", PromptBootstrap(64))
    assert table.reliable[0]
    assert table.change_low[0] < 1 < table.change_high[0]
    assert table.change_high[0] - table.change_low[0] < 0.3, "differences of prompts cancel"


@pytest.mark.parametrize(
    ("columns", "more", "said"),
    [
        ({}, {"kls": [1.0]}, "No column was given"),
        ({"l": np.zeros((2, 3))}, {"kls": [1.0]}, "Column 'l' has shape (2, 3)"),
        ({"l": np.full((4, 8), np.nan)}, {"kls": [1.0]}, "'l' has no value"),
        ({"l": np.zeros((4, 8))}, {}, "give kls or ns"),
        ({"l": np.zeros((4, 8))}, {"ns": [9]}, "best-of-9"),
    ],
)
def test_bad_input_is_named(columns, more, said):
    with pytest.raises(EstimateError, match=said.replace("(", r"\(").replace(")", r"\)")):
        side_effects(np.random.default_rng(0).normal(size=(4, 8)), columns, **more)

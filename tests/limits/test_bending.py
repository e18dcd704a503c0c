"""Gold's gain under a proxy where gold bends: the bias that halves and quarters do not show is in the interval."""

import numpy as np
import pytest

from alignment_limits.limits import frontier
from alignment_limits.limits.bending import bend_bound

KL = 1.25


def drawn(shape, seed, prompts=160, samples=64):
    z, noise = np.random.default_rng((seed, 3)).normal(size=(2, prompts, samples))
    return z, shape(z) + 0.3 * noise


def bent(z):
    return z - 0.35 * (z**2 - 1)


def cubic(z):
    return z - 0.1 * z**3


def exact(shape, kl):
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    return float(weights @ shape(nodes + np.sqrt(2 * kl)) - weights @ shape(nodes))


@pytest.mark.parametrize("shape", [bent, cubic])
def test_the_bound_is_above_the_bias_and_intervals_cover(shape):
    truth, errors, bounds, held = exact(shape, KL), [], [], 0
    for seed in range(6):
        z, gold = drawn(shape, seed)
        row = frontier(z, {"gold": gold}, kls=[KL], budget="per-prompt", replicates=200, seed=seed)["gold"]
        errors.append(row.gain[0] - truth)
        bounds.append(bend_bound(z, [gold], np.array([KL]), budget="per-prompt")[0, 0])
        held += row.reliable[0] and row.gain_low[0] <= truth <= row.gain_high[0]
    assert held == 6
    assert 0.05 * truth < abs(np.mean(errors)) < np.mean(bounds) < 4 * abs(np.mean(errors))


def test_a_straight_line_has_almost_no_bound_and_the_units_are_those_of_the_reward():
    z, gold = drawn(lambda z: 0.6 * z, 1)
    (straight, curved), (_, larger) = (
        bend_bound(z, [gold, k * bent(z)], np.array([KL]))[0] for k in (1.0, 50.0)
    )  # fmt: skip
    assert straight < 0.005
    assert curved > 0.02
    assert larger == pytest.approx(50 * curved)
    scaled = bend_bound(1e6 * z, [bent(z)], np.array([KL]))[0, 0]
    assert scaled == pytest.approx(curved, rel=1e-6)


def test_missing_samples_constant_proxies_and_few_samples_have_a_bound_too():
    z, gold = drawn(bent, 2, prompts=40)
    hole = z.copy()
    hole[::3, 50:] = np.nan
    assert bend_bound(hole, [np.where(np.isnan(hole), np.nan, gold)], np.array([KL]))[0, 0] > 0
    assert bend_bound(np.ones((20, 32)), [gold[:20, :32]], np.array([KL])).tolist() == [[0.0]]
    assert bend_bound(z[:, :8], [gold[:, :8]], np.array([KL]))[0, 0] > 0


def test_where_quarters_do_not_reach_the_kl_the_bound_is_larger_not_absent():
    z, gold = drawn(bent, 3)
    near, far = bend_bound(z, [gold], np.array([2.0, 3.0]))[:, 0]
    assert 0 < near < far

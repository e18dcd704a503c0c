"""The lower bound of a KL from scores alone: valid by listing, close where a policy is known, never above the KL."""

from itertools import product

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.tradeoffs.closed_policies import Candidates, kl_from_scores

RNG = np.random.default_rng


def test_the_bound_of_any_parameters_is_at_most_the_kl_by_listing():
    """Three replies, two of the base: all 27 sets listed."""
    reward, base, policy = np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    kl = float(policy @ np.log(policy / base))
    sets = np.array(list(product(range(3), repeat=3)))
    weights = policy[sets[:, 0]] * base[sets[:, 1]] * base[sets[:, 2]]
    drawn = Candidates.of([reward[sets[:, 1:]]], [reward[sets[:, :1]]])
    of_base = base[sets[:, 0]] * base[sets[:, 1]] * base[sets[:, 2]]
    for theta in RNG(0).normal(size=(50, 5)):
        values = drawn.values(theta)
        assert weights @ values <= kl + 1e-12
        assert of_base @ np.exp(values) == pytest.approx(1.0, abs=1e-12)  # a density ratio


@pytest.mark.parametrize(("n", "kl"), [(4, np.log(4) - 3 / 4), (16, np.log(16) - 15 / 16)])
def test_best_of_n_with_any_spreads_is_nearly_found(n, kl):
    rng = RNG(0)
    spread = rng.lognormal(sigma=0.6, size=(300, 1))
    base = {"gold": spread * rng.normal(size=(300, 64))}
    policy = {"gold": spread * rng.normal(size=(300, 2, n)).max(axis=2)}
    table = kl_from_scores(base, {"api": policy}, "gold", replicates=200)
    assert 0.87 * kl < table.kl_bound[0] < kl
    assert table.kl_at_least[0] < table.kl_bound[0]
    assert table.reliable[0]


def test_two_rewards_show_more_than_one():
    rng = RNG(0)
    base = {name: rng.normal(size=(300, 32)) for name in ("gold", "length")}
    policy = {name: rng.normal(0.8, 1.0, size=(300, 2)) for name in base}
    alone = kl_from_scores({"gold": base["gold"]}, {"api": {"gold": policy["gold"]}}, "gold", replicates=200)
    both = kl_from_scores(base, {"api": policy}, "gold", replicates=200)
    assert alone.kl_bound[0] < 0.32 < both.kl_bound[0] < 0.64


@pytest.mark.parametrize("kind", ["base", "tilt", "pass rates"])
def test_the_lower_bound_is_rarely_above_the_kl(kind):
    above = 0
    for study in range(25):
        rng = RNG(study)
        if kind == "pass rates":
            p = rng.beta(2, 3, size=(48, 1))
            base, policy, kl = rng.random((48, 32)) < p, rng.random((48, 2)) < np.sqrt(p), 0.12
        else:
            shift = 1.0 if kind == "tilt" else 0.0
            base, policy, kl = rng.normal(size=(48, 32)), rng.normal(shift, 1.0, size=(48, 2)), shift**2 / 2
        table = kl_from_scores({"g": base}, {"api": {"g": policy}}, "g", replicates=200, seed=study)
        above += table.kl_at_least[0] > kl
    assert above <= 2


def test_missing_replies_and_unequal_counts_are_used():
    rng = RNG(0)
    base, policy = rng.normal(size=(60, 32)), rng.normal(1.0, 1.0, size=(60, 3))
    base[::2, 20:] = np.nan
    policy[0], policy[1, 1:] = np.nan, np.nan
    table = kl_from_scores({"g": base}, {"api": {"g": policy}}, "g", replicates=200)
    assert table.prompts[0] == 59
    assert table.replies[0] == 59 * 3 - 2
    assert 0 < table.kl_bound[0] < 0.7
    # The order of the rows changes nothing but the folds, which follow the keys.
    order, keys = rng.permutation(60), np.arange(60)
    again = kl_from_scores({"g": base[order]}, {"api": {"g": policy[order]}}, "g", replicates=200, keys=keys[order])
    assert again.kl_bound[0] == pytest.approx(table.kl_bound[0], abs=0.05)


def test_few_prompts_are_refused_and_bad_input_is_named():
    rng = RNG(0)
    base, policy = {"g": rng.normal(size=(10, 32))}, {"g": rng.normal(size=(10, 2))}
    assert "only 10 prompts" in kl_from_scores(base, {"api": policy}, "g", replicates=200).reason[0]
    with pytest.raises(EstimateError, match="'api' has no scores of 'g'"):
        kl_from_scores(base, {"api": {"h": policy["g"]}}, "g")
    with pytest.raises(EstimateError, match="the base has 10 rows"):
        kl_from_scores(base, {"api": {"g": policy["g"][:5]}}, "g")
    with pytest.raises(EstimateError, match="no reply"):
        kl_from_scores(base, {"api": {"g": np.full((10, 2), np.nan)}}, "g")

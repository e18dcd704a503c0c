"""Exact learners of a tabular class: against general optimisers and closed forms, and on degenerate data."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from alignment_limits.preferences import objectives
from alignment_limits.preferences.fits import has_finite_fit, linear_reward_fit, log_softmax, margins, reward_fit
from alignment_limits.preferences.learners import (
    LEARNERS,
    Data,
    ipo_policy,
    preference_path,
    rlhf_policy,
    unregularised,
)
from alignment_limits.preferences.pairs import draw_wins, expected_wins, preferences
from alignment_limits.preferences.rates import first_order, gain, kl

GAMMA = 0.5
RNG = np.random.default_rng(3)
TARGET, BASE = log_softmax(RNG.normal(size=(2, 4, 5)))
WINS = draw_wins(preferences(TARGET, gamma=GAMMA), BASE, 2000, RNG).astype(float)
FREE = reward_fit(WINS)
DATA = Data(wins=4 * WINS / 2000, log_base=BASE, gamma=GAMMA, reward=reward_fit(WINS, ridge=0.01), free_reward=FREE)
ONE_WAY = np.array([[0.0, 3, 1], [0, 0, 2], [0, 0, 0]])  # 0 beats 1 beats 2: separable


def pairs(wins):
    """(winner, loser) of every pair of a table of wins (Y, Y)."""
    return np.array([(a, b) for a, b in itertools.product(range(len(wins)), repeat=2) for _ in range(int(wins[a, b]))])


def least(loss, size):
    """The minimiser of a function of logits by a general optimiser, as log-probabilities."""
    return log_softmax(minimize(loss, np.zeros(size), method="BFGS", options={"gtol": 1e-10, "maxiter": 2000}).x)


@pytest.mark.parametrize("beta", [2.0, 0.05])
@pytest.mark.parametrize("objective", ["pmle", "distillation"])
def test_the_path_minimises_the_objective_as_defined_pair_by_pair(objective, beta):
    met = pairs(WINS[0])
    reward_margin = DATA.reward[0][met[:, 0]] - DATA.reward[0][met[:, 1]]

    def loss(logits):
        policy = log_softmax(logits)
        margin = policy[met[:, 0]] - policy[met[:, 1]]
        if objective == "pmle":
            each = objectives.pmle(margin, gamma=GAMMA)
        else:
            each = objectives.distillation(margin, reward_margin, gamma=GAMMA)
        return 4 * each.value.sum() / 2000 + beta * (np.exp(policy) * (policy - BASE[0])).sum()

    *_, found = LEARNERS[objective](DATA, [8 * beta, beta])
    np.testing.assert_allclose(found[0], least(loss, 5), atol=2e-5)


def test_without_regularisation_three_objectives_are_one():
    found = unregularised(DATA, free=True)
    for name in ("pmle", "distillation"):
        np.testing.assert_allclose(found[name], found["reverse-kl"], atol=1e-7)
    np.testing.assert_allclose(found["reverse-kl"], log_softmax(FREE / GAMMA), atol=1e-12)


def test_dpo_and_rlhf_and_rebel_are_one_curve_that_pmle_is_not_on():
    data = replace(DATA, reward=FREE)
    dpo, rlhf, rebel, pmle = (list(LEARNERS[o](data, [1.0, 0.2])) for o in ("dpo", "rlhf", "rebel", "pmle"))
    for a, b in zip(rlhf, rebel, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(dpo[1], rlhf[1], atol=1e-12)
    assert np.abs(pmle[1] - rlhf[1]).max() > 0.05


def test_dpo_minimises_its_loss():
    met = pairs(WINS[0])
    base = BASE[0][met[:, 0]] - BASE[0][met[:, 1]]

    def loss(logits):
        policy = log_softmax(logits)
        return objectives.dpo(policy[met[:, 0]] - policy[met[:, 1]], base, beta=0.3).value.mean()

    (found,) = LEARNERS["dpo"](DATA, [0.3])
    np.testing.assert_allclose(found[0], least(loss, 5), atol=2e-5)


def test_ipo_minimises_its_loss_and_is_finite_on_separable_data():
    base = log_softmax(np.array([0.3, 0.0, -0.2]))
    met = pairs(ONE_WAY)

    def loss(logits):
        policy = log_softmax(logits)
        margin, base_margin = (v[met[:, 0]] - v[met[:, 1]] for v in (policy, base))
        return objectives.ipo(margin, base_margin, tau=0.7).value.mean()

    np.testing.assert_allclose(ipo_policy(ONE_WAY, base, tau=0.7), least(loss, 3), atol=1e-6)


@pytest.mark.parametrize("objective", ["ipo", "rlhf", "rebel", "dpo"])
def test_learners_of_closed_form_divide_by_their_coefficient(objective):
    for beta, found in zip([2.0, 0.3], LEARNERS[objective](DATA, [2.0, 0.3]), strict=True):
        if objective == "ipo":
            expected = ipo_policy(DATA.wins, BASE, tau=beta)
        else:
            expected = log_softmax(BASE + (FREE if objective == "dpo" else DATA.reward) / beta)
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_rewards_are_least_in_the_bradley_terry_loss_with_their_prior():
    def loss(reward):
        met = pairs(WINS[1])
        return objectives.softplus(-(reward[met[:, 0]] - reward[met[:, 1]])).sum() + 0.5 * 2.0 * (reward**2).sum()

    found = minimize(loss, np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(reward_fit(WINS[1], ridge=2.0), found - found.mean(), atol=1e-5)


def test_two_responses_have_the_log_odds():
    wins = np.array([[0.0, 30], [10, 0]])
    found = reward_fit(wins)
    assert found[0] - found[1] == pytest.approx(np.log(3))


def test_separable_pairs_have_no_finite_fit_and_a_prior_gives_one():
    assert np.isnan(reward_fit(ONE_WAY)).all()
    kept = reward_fit(ONE_WAY, ridge=0.01)
    assert np.isfinite(kept).all()
    assert kept[0] > kept[1] > kept[2]


def test_one_pair_moves_two_rewards_and_no_other():
    wins = np.zeros((4, 4))
    wins[2, 1] = 1
    found = reward_fit(wins, ridge=0.1)
    assert found[2] == pytest.approx(-found[1])
    np.testing.assert_allclose(found[[0, 3]], 0, atol=1e-10)
    assert not has_finite_fit(wins)
    assert np.isnan(reward_fit(wins)).all()


def test_no_pairs_teach_nothing():
    np.testing.assert_allclose(reward_fit(np.zeros((3, 3)), ridge=0.1), 0)
    (policy,) = preference_path(np.zeros((3, 3)), BASE[0, :3], gamma=GAMMA, betas=[1.0])
    np.testing.assert_allclose(policy, log_softmax(BASE[0, :3]), atol=1e-10)


def test_a_bounded_kl_holds_separable_pairs_only_while_it_is_strong():
    base = np.full(3, -np.log(3))
    strong, weak = preference_path(ONE_WAY / 6, base, gamma=GAMMA, betas=[20.0, 1e-3])
    assert np.isfinite(strong).all()
    assert strong[0] > strong[1] > strong[2]
    assert np.isnan(weak).all()


def test_finite_fits_are_those_a_general_optimiser_finds():
    rng = np.random.default_rng(1)
    for _ in range(40):
        wins = rng.binomial(1, 0.4, size=(4, 4)).astype(float)
        np.fill_diagonal(wins, 0)

        def loss(free, wins=wins):
            reward = np.append(free, 0.0)
            return (wins * objectives.softplus(-margins(reward))).sum()

        found = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-7})
        bounded = np.abs(found.x).max() < 8
        curved = bounded and np.linalg.eigvalsh(_hessian(found.x, wins)).min() > 1e-3
        assert has_finite_fit(wins) == curved


def _hessian(free, wins):
    p = objectives.sigmoid(margins(np.append(free, 0.0)))
    met = (wins + wins.T) * p * (1 - p)
    return (np.diag(met.sum(1)) - met)[:3, :3]


def test_population_data_give_back_the_target():
    wins = expected_wins(preferences(TARGET, gamma=GAMMA), BASE)
    np.testing.assert_allclose(log_softmax(reward_fit(wins) / GAMMA), TARGET, atol=1e-8)


def test_the_first_order_prediction_is_the_mean_over_many_data_sets():
    rng = np.random.default_rng(5)
    table, n = preferences(TARGET, gamma=GAMMA), 20_000
    wins = np.stack([draw_wins(table, BASE, n, rng) for _ in range(200)])
    measured = kl(TARGET, log_softmax(reward_fit(wins) / GAMMA))
    predicted = first_order(TARGET, table, expected_wins(table, BASE) / 4, gamma=GAMMA) / n
    assert measured.mean() == pytest.approx(predicted, abs=4 * measured.std() / np.sqrt(200) + 0.02 * predicted)


def test_the_first_order_prediction_is_infinite_without_coverage():
    nowhere = np.where(np.arange(5) == 2, -800.0, 0.0) + np.zeros((4, 5))
    sampler = log_softmax(nowhere)
    table = preferences(TARGET, gamma=GAMMA)
    assert first_order(TARGET, table, expected_wins(table, sampler) / 4, gamma=GAMMA) == np.inf


def test_features_of_every_response_are_a_table():
    features = np.eye(20).reshape(4, 5, 20)
    linear = linear_reward_fit(WINS[None], features, ridge=0.01)[0]
    np.testing.assert_allclose(linear, reward_fit(WINS, ridge=0.01), atol=1e-7)
    table, mean = preferences(TARGET, gamma=GAMMA), expected_wins(preferences(TARGET, gamma=GAMMA), BASE) / 4
    alike = first_order(TARGET, table, mean, gamma=GAMMA, features=features)
    assert alike == pytest.approx(first_order(TARGET, table, mean, gamma=GAMMA))


def test_on_policy_distillation_ends_where_its_own_pairs_ask_for_nothing_more():
    *_, policy = LEARNERS["distillation-on-policy"](DATA, [1.0, 0.3])
    wins = expected_wins(objectives.sigmoid(margins(DATA.reward)), policy)
    (again,) = preference_path(wins, BASE, gamma=GAMMA, betas=[0.3])
    np.testing.assert_allclose(again, policy, atol=1e-8)


def test_divergences_of_two_responses():
    p, q = np.log([[[0.25, 0.75]], [[0.5, 0.5]]])
    assert kl(p, q) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert kl(p, np.full_like(q, np.nan)) == np.inf
    assert gain(p, q, np.array([[1.0, 3.0]])) == pytest.approx(0.5)
    assert kl(TARGET, rlhf_policy(np.zeros_like(BASE), BASE, beta=1.0)) == pytest.approx(kl(TARGET, BASE))

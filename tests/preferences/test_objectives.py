"""Losses and derivatives of the objectives, in NumPy and in torch, and their minimisers against closed forms."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from alignment_limits.preferences import learners, objectives
from alignment_limits.preferences.fits import log_softmax

RNG = np.random.default_rng(0)
M, M0, DR = RNG.normal(size=(3, 50)) * 3
PAIRWISE = {
    "pmle": lambda m, m0, dr: objectives.pmle(m, gamma=0.7),
    "distillation": lambda m, m0, dr: objectives.distillation(m, dr, gamma=0.7),
    "dpo": lambda m, m0, dr: objectives.dpo(m, m0, beta=0.3),
    "ipo": lambda m, m0, dr: objectives.ipo(m, m0, tau=0.4),
    "rebel": lambda m, m0, dr: objectives.rebel(m, m0, dr, eta=0.6),
}


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_pairwise_slope_is_the_derivative_of_the_value(name):
    loss, h = PAIRWISE[name], 1e-5
    difference = (loss(M + h, M0, DR).value - loss(M - h, M0, DR).value) / (2 * h)
    np.testing.assert_allclose(loss(M, M0, DR).slope, difference, atol=1e-8)


@pytest.mark.parametrize("name", PAIRWISE)
def test_torch_gives_the_same_value_and_differentiates_to_the_same_slope(name):
    ours = PAIRWISE[name](M, M0, DR)
    margin = torch.tensor(M, requires_grad=True)
    loss = PAIRWISE[name](margin, torch.tensor(M0), torch.tensor(DR))
    loss.value.sum().backward()
    np.testing.assert_allclose(loss.value.detach().numpy(), ours.value, rtol=1e-12)
    np.testing.assert_allclose(margin.grad.numpy(), ours.slope, rtol=1e-9, atol=1e-12)


def test_at_no_margin_the_derivative_is_that_of_a_coin():
    margin = torch.zeros(1, requires_grad=True)
    objectives.pmle(margin, gamma=2.0).value.backward()
    assert margin.grad.item() == pytest.approx(-1.0)


def test_extreme_margins_overflow_nowhere():
    far = np.array([-2000.0, 2000.0])
    loss = objectives.pmle(far, gamma=1.0)
    np.testing.assert_allclose(loss.value, [2000, 0])
    np.testing.assert_allclose(loss.slope, [-1, 0])
    assert np.isfinite(objectives.distillation(far, -far, gamma=1.0).value).all()


def test_distillation_is_least_and_zero_where_the_policy_holds_the_reward():
    m = np.linspace(-4, 4, 81)
    value = objectives.distillation(m, np.full(81, 0.5), gamma=0.5).value
    assert m[value.argmin()] == pytest.approx(1.0)
    assert value.min() == pytest.approx(0, abs=1e-15)
    assert (value >= -1e-15).all()


def test_distillation_of_a_certain_reward_is_maximum_likelihood():
    np.testing.assert_allclose(
        objectives.distillation(M, np.full(50, 40.0), gamma=0.7).value, objectives.pmle(M, gamma=0.7).value, atol=1e-13
    )


def test_dpo_is_pmle_of_the_ratio_to_the_base():
    np.testing.assert_array_equal(objectives.dpo(M, 0 * M0, beta=0.7).value, objectives.pmle(M, gamma=0.7).value)
    np.testing.assert_allclose(objectives.dpo(M, M0, beta=0.7).value, objectives.pmle(M - M0, gamma=0.7).value)


LOGITS, LOG_BASE, REWARD = RNG.normal(size=6), log_softmax(RNG.normal(size=6)), RNG.normal(size=6)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_reverse_kl_slope_is_the_derivative_in_the_logits(gamma):
    def value(logits):
        return objectives.reverse_kl(log_softmax(logits), LOG_BASE, REWARD, gamma=gamma, beta=0.3).value

    h = 1e-5
    difference = [(value(LOGITS + h * e) - value(LOGITS - h * e)) / (2 * h) for e in np.eye(6)]
    slope = objectives.reverse_kl(log_softmax(LOGITS), LOG_BASE, REWARD, gamma=gamma, beta=0.3).slope
    np.testing.assert_allclose(slope, difference, atol=1e-9)


@pytest.mark.parametrize(("gamma", "beta"), [(0.5, 0.2), (0.5, 2.0), (0.0, 0.4), (1.3, 0.0)])
def test_reverse_kl_is_least_at_its_closed_form(gamma, beta):
    def loss(logits):
        found = objectives.reverse_kl(log_softmax(logits), LOG_BASE, REWARD, gamma=gamma, beta=beta)
        return found.value, found.slope

    found = minimize(loss, LOGITS, jac=True, tol=1e-14, options={"maxiter": 500})
    formula = learners.reverse_kl_policy(REWARD, LOG_BASE, gamma=gamma, beta=beta)
    np.testing.assert_allclose(log_softmax(found.x), formula, atol=1e-5)


def test_reverse_kl_is_minus_the_mean_of_its_per_response_reward():
    policy = log_softmax(LOGITS)
    signal = objectives.reverse_kl_reward(policy, LOG_BASE, REWARD, gamma=0.5, beta=0.3)
    kl = (np.exp(policy) * (policy - LOG_BASE)).sum()
    entropy = -(np.exp(policy) * policy).sum()
    value = objectives.reverse_kl(policy, LOG_BASE, REWARD, gamma=0.5, beta=0.3).value
    assert value == pytest.approx(-(np.exp(policy) * signal).sum())
    assert value == pytest.approx(-(np.exp(policy) * REWARD).sum() - 0.5 * entropy + 0.3 * kl)


def test_rlhf_is_the_limit_of_reverse_kl_as_gamma_falls():
    tilt = learners.rlhf_policy(REWARD, LOG_BASE, beta=0.3)
    np.testing.assert_allclose(tilt, log_softmax(LOG_BASE + REWARD / 0.3), atol=1e-12)
    gaps = [np.abs(learners.reverse_kl_policy(REWARD, LOG_BASE, gamma=g, beta=0.3) - tilt).max() for g in (1e-2, 1e-4)]
    assert gaps[1] < 1e-2
    assert gaps[1] == pytest.approx(gaps[0] / 100, rel=0.1)
    rlhf = objectives.rlhf(log_softmax(LOGITS), LOG_BASE, REWARD, beta=0.3)
    near = objectives.reverse_kl(log_softmax(LOGITS), LOG_BASE, REWARD, gamma=1e-9, beta=0.3)
    assert near.value == pytest.approx(rlhf.value, abs=1e-8)


def test_rebel_steps_to_the_tilt_whatever_the_number_of_steps():
    for steps in (1, 3, 10):
        policy = learners.rebel_policy(REWARD, LOG_BASE, eta=1 / (steps * 0.3), steps=steps)
        np.testing.assert_allclose(policy, learners.rlhf_policy(REWARD, LOG_BASE, beta=0.3), atol=1e-12)


def test_rebel_is_zero_at_its_step():
    stepped = learners.rebel_policy(REWARD, LOG_BASE, eta=0.6, steps=1)
    loss = objectives.rebel(stepped[0] - stepped[1:], LOG_BASE[0] - LOG_BASE[1:], REWARD[0] - REWARD[1:], eta=0.6)
    np.testing.assert_allclose(loss.value, 0, atol=1e-24)

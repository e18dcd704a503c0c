"""Heads against normal equations, brute-force leave-one-out, stationarity, and known truths."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.rewards import heads
from alignment_limits.rewards.heads import bradley_terry, ridge
from alignment_limits.training.proxies import fit_proxy


def _solved(x, y, penalty):
    """Ridge with a free intercept by the normal equations."""
    centred, mean = x - x.mean(0), y.mean()
    weight = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - mean))
    return weight, mean - x.mean(0) @ weight


@pytest.mark.parametrize("shape", [(40, 6), (8, 20)], ids=["tall", "wide"])
def test_ridge_solves_the_normal_equations_and_its_error_is_leave_one_out(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    y = x[:, 0] - 2 * x[:, 1] + rng.normal(size=shape[0])
    head = ridge(x, y)
    weight, bias = _solved(x, y, head.penalty)
    np.testing.assert_allclose(head.weight, weight, atol=1e-9)
    assert head.bias == pytest.approx(bias)
    left = []
    for i in range(shape[0]):
        w, b = _solved(np.delete(x, i, 0), np.delete(y, i), head.penalty)
        left.append((y[i] - x[i] @ w - b) ** 2)
    assert head.held_out == pytest.approx(np.mean(left), rel=1e-9)
    np.testing.assert_allclose(head(x), x @ weight + bias)


def test_the_penalty_is_the_best_of_those_tried():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 10))
    noise = ridge(x, rng.normal(size=30))
    clean = ridge(x, x @ np.arange(10.0))
    assert noise.penalty > 100 * clean.penalty
    assert clean.held_out < 1e-2


def test_bradley_terry_is_stationary_and_finds_the_truth():
    rng = np.random.default_rng(2)
    truth = np.array([1.5, -1.0, 0.5, 0.0])
    x = rng.normal(size=(6000, 4))
    chosen = rng.random(6000) < 1 / (1 + np.exp(-x @ truth))
    x = np.where(chosen[:, None], x, -x)
    head = bradley_terry(x)
    gradient = head.penalty * head.weight - x.T @ (1 / (1 + np.exp(x @ head.weight)))
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    np.testing.assert_allclose(head.weight, truth, atol=0.15)  # about 3 standard errors
    assert head.held_out == pytest.approx(np.logaddexp(0, -x @ truth).mean(), abs=0.01)


def test_what_is_known_of_the_logits_is_no_part_of_the_head():
    rng = np.random.default_rng(5)
    truth = np.array([1.5, -1.0])
    x, known = rng.normal(size=(6000, 2)), 3 * rng.normal(size=6000)
    sign = np.where(rng.random(6000) < 1 / (1 + np.exp(-x @ truth - known)), 1, -1)
    x, known = sign[:, None] * x, sign * known
    head = bradley_terry(x, known)
    gradient = head.penalty * head.weight - x.T @ (1 / (1 + np.exp(x @ head.weight + known)))
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    np.testing.assert_allclose(head.weight, truth, atol=0.2)
    assert head.held_out == pytest.approx(np.logaddexp(0, -x @ truth - known).mean(), abs=0.01)
    flat = bradley_terry(np.zeros((6000, 1)), known)
    assert flat.held_out == pytest.approx(np.logaddexp(0, -known).mean(), rel=1e-12)


def test_separable_preferences_have_a_finite_head():
    x = np.abs(np.random.default_rng(3).normal(size=(20, 40)))
    head = bradley_terry(x)
    assert np.isfinite(head.weight).all()
    assert (x @ head.weight > 0).all()


@pytest.fixture(scope="module")
def world():
    """300 prompts × 10 samples whose gold is linear in the features, plus an offset of the prompt."""
    rng = np.random.default_rng(4)
    prompt = np.repeat(np.arange(300), 10)
    features = rng.normal(size=(3000, 20))
    return features, features @ rng.normal(size=20) + 0.1 * prompt % 3, prompt


def _agreement(head, world):
    features, gold, prompt = world
    return np.mean([np.corrcoef(head(features)[prompt == p], gold[prompt == p])[0, 1] for p in range(0, 300, 10)])


@pytest.mark.parametrize("loss", ["regression", "bradley-terry"])
def test_more_labels_and_less_noise_make_a_better_proxy(world, loss):
    def quality(labels, noise):
        heads = [fit_proxy(*world, labels=labels, noise=noise, loss=loss, seed=s) for s in range(3)]
        return np.mean([_agreement(h, world) for h in heads])

    few, many, noisy = quality(20, 0.3), quality(400, 0.3), quality(400, 3.0)
    assert many > few + 0.05
    assert many > noisy + 0.05
    assert many > 0.9


def test_members_share_what_they_are_told_to_share(world):
    def head(seed, feature_seed):
        return fit_proxy(
            *world, labels=50, noise=0.5, loss="regression", seed=seed, dimensions=0.5, feature_seed=feature_seed
        )

    base = head(0, 0)
    np.testing.assert_array_equal(base.weight, head(0, 0).weight)
    assert np.count_nonzero(base.weight) == 10
    same_features = head(1, 0)
    np.testing.assert_array_equal(same_features.weight == 0, base.weight == 0)
    assert not np.array_equal(same_features.weight, base.weight)
    assert not np.array_equal(head(0, 1).weight == 0, base.weight == 0)


def test_labels_beyond_the_samples_or_a_constant_gold_are_refused(world):
    settings = {"noise": 0.0, "seed": 0}
    with pytest.raises(EstimateError, match="5000 labels are asked for, but there are only 3000"):
        fit_proxy(*world, labels=5000, loss="regression", **settings)
    features, _, prompt = world
    with pytest.raises(EstimateError, match="constant within every training prompt"):
        fit_proxy(features, prompt.astype(float), prompt, labels=50, loss="regression", **settings)
    with pytest.raises(EstimateError, match="only 2 pairs"):
        fit_proxy(features[:4], np.arange(4.0), prompt[[0, 0, 11, 11]], labels=9, loss="bradley-terry", **settings)


def test_preferences_are_distinct_pairs_of_one_prompt():
    from alignment_limits.training.proxies import _pairs

    prompt = np.repeat(np.arange(4), 5)
    a, b = _pairs(prompt, 40, np.random.default_rng(0))
    assert (prompt[a] == prompt[b]).all()
    assert len({frozenset(p) for p in zip(a, b, strict=True)}) == 40 == 4 * 10


def test_too_few_labels_are_refused():
    with pytest.raises(EstimateError, match="2 labels"):
        ridge(np.eye(2), np.arange(2.0))
    with pytest.raises(EstimateError, match="give 5 or more"):
        bradley_terry(np.eye(heads.FOLDS - 1))

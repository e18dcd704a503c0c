"""Preference pairs among samples: their probabilities are exact, their labels follow them."""

import numpy as np
import pytest

from alignment_limits.learning.pairs import draw_pairs

RNG = np.random.default_rng(0)
LOG_BASE, REWARD = -np.abs(RNG.normal(size=6)), RNG.normal(size=6)
TARGET, GAMMA = LOG_BASE + REWARD / 0.7, 0.4


def drawn(setting="as-modelled", level=0.0, pairs=40_000):
    return draw_pairs(
        TARGET, LOG_BASE, REWARD, pairs, np.random.default_rng(1), gamma=GAMMA, setting=setting, level=level
    )


def test_a_labels_probability_is_the_targets_and_labels_come_up_as_often():
    found = drawn()
    margin = GAMMA * (TARGET[found.chosen] - TARGET[found.rejected])
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-margin)))
    np.testing.assert_array_equal(found.probability, found.observed)
    assert (found.chosen != found.rejected).all()
    up = ((found.chosen == 0) & (found.rejected == 1)).sum()
    down = ((found.chosen == 1) & (found.rejected == 0)).sum()
    expected = 1 / (1 + np.exp(-GAMMA * (TARGET[0] - TARGET[1])))
    assert up / (up + down) == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(up + down))


def test_noise_is_in_the_observed_probability_only():
    found = drawn("label-noise", 0.2)
    np.testing.assert_allclose(found.observed, 0.6 * found.probability + 0.2)
    # a label agrees with the model less often than the model expects of itself
    assert found.probability.mean() < drawn().probability.mean() - 0.02


def test_samplers_pick_samples_as_often_as_they_should():
    def share(setting, level):
        found = drawn(setting, level)
        both = np.concatenate([found.chosen, found.rejected])
        return np.bincount(both, minlength=6) / len(both)

    def of_pairs(weights):
        cells = np.outer(weights, weights) * (1 - np.eye(6))
        return cells.sum(0) / cells.sum()

    np.testing.assert_allclose(share("as-modelled", 0.0), 1 / 6, atol=0.01)
    np.testing.assert_allclose(share("tempered-pairs", 0.5), of_pairs(np.exp(LOG_BASE)), atol=0.01)
    ranks = REWARD.argsort().argsort()
    np.testing.assert_allclose(
        share("best-of-n-pairs", 2), of_pairs(((ranks + 1) / 6) ** 2 - (ranks / 6) ** 2), atol=0.01
    )


def test_dropped_ties_leave_fewer_pairs_and_a_lonely_sample_none():
    assert 0 < len(drawn("ties-dropped", 1.0, 1000).chosen) < 1000
    alone = draw_pairs(TARGET[:1], LOG_BASE[:1], REWARD[:1], 5, np.random.default_rng(0), gamma=GAMMA)
    assert len(alone.chosen) == len(alone.probability) == 0

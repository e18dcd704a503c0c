"""Preference tables, what may be wrong with them, and pairs drawn from them."""

import numpy as np
import pytest

from alignment_limits.preferences import pairs as pref
from alignment_limits.preferences.fits import log_softmax, margins
from alignment_limits.preferences.pairs import comparisons, draw_world

RNG = np.random.default_rng(0)
TARGET, BASE = log_softmax(RNG.normal(size=(2, 3, 4)))
TABLE = pref.preferences(TARGET, gamma=0.5)
OPTIONS = {
    "contexts": 3,
    "responses": 4,
    "gamma": 0.5,
    "target_sd": 1.0,
    "base_sd": 0.5,
    "target_dimension": None,
    "reward_dimension": None,
}
NEUTRAL = {"gamma-error": 1.0, "tempered-pairs": 1.0, "best-of-n-pairs": 1.0}
SETTINGS = [
    "label-noise",
    "ties-flipped",
    "ties-dropped",
    "context-effects",
    "annotator-bias",
    "gamma-error",
    "tempered-pairs",
    "best-of-n-pairs",
]


def test_preferences_are_powers_of_the_target():
    p = np.exp(TARGET) ** 0.5
    np.testing.assert_allclose(TABLE, p[:, :, None] / (p[:, :, None] + p[:, None, :]))


def test_noise_flips_and_a_half_leaves_a_coin():
    np.testing.assert_allclose(pref.with_label_noise(TABLE, 0.1), 0.9 * TABLE + 0.1 * (1 - TABLE))
    np.testing.assert_allclose(pref.with_label_noise(TABLE, 0.5), 0.5)


def test_ties_are_davidsons():
    u = np.exp(0.5 * TARGET[0])
    a, b, nu = u[0], u[1], 0.8
    all_three = a + b + nu * np.sqrt(a * b)
    assert pref.tie_probability(TABLE, nu)[0, 0, 1] == pytest.approx(nu * np.sqrt(a * b) / all_three)
    flipped = (a + nu * np.sqrt(a * b) / 2) / all_three
    assert pref.with_ties_flipped(TABLE, nu)[0, 0, 1] == pytest.approx(flipped)


def test_annotators_average_over_their_own_preferences():
    biases = RNG.normal(size=(2, 3, 4))
    one, other = (pref.preferences(TARGET + b / 0.5, gamma=0.5) for b in biases)
    np.testing.assert_allclose(pref.with_annotators(TABLE, biases), (one + other) / 2)


def test_context_effects_cannot_be_told_by_one_reward_per_response():
    drawn = RNG.normal(size=(3, 4, 4))
    effects = drawn - drawn.swapaxes(1, 2)
    logit = np.log(pref.with_context_effects(TABLE, effects)) - np.log(1 - pref.with_context_effects(TABLE, effects))
    np.testing.assert_allclose(logit, 0.5 * margins(TARGET) + effects)
    circle = logit[0, 0, 1] + logit[0, 1, 2] + logit[0, 2, 0]
    assert abs(circle) > 0.1


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_the_model_at_its_neutral_level_and_departs_elsewhere(setting):
    world = draw_world(OPTIONS, np.random.default_rng(1))
    plain = comparisons("as-modelled", 0.0, world, OPTIONS, np.random.default_rng(2))
    neutral = comparisons(setting, NEUTRAL.get(setting, 0.0), world, OPTIONS, np.random.default_rng(2))
    other = comparisons(setting, 0.3 if setting not in NEUTRAL else 2.0, world, OPTIONS, np.random.default_rng(2))
    for table in (neutral.table, other.table):
        np.testing.assert_allclose(table + table.swapaxes(1, 2), 1, atol=1e-12)
    np.testing.assert_allclose(neutral.expected_wins(), plain.expected_wins(), atol=1e-12)
    assert neutral.gamma == plain.gamma
    assert neutral.as_modelled
    differs = np.abs(other.expected_wins() - plain.expected_wins()).max() > 1e-4 or other.gamma != plain.gamma
    assert differs
    np.testing.assert_allclose(np.exp(other.log_sampler).sum(-1), 1)


def test_the_best_of_n_sampler_is_what_best_of_n_draws():
    n, rng = 3, np.random.default_rng(4)
    law = np.exp(pref.best_of_n_sampler(BASE, TARGET - BASE, n))[0]
    drawn = rng.choice(4, size=(40_000, n), p=np.exp(BASE[0]))
    reward = (TARGET - BASE)[0]
    best = drawn[np.arange(len(drawn)), reward[drawn].argmax(1)]
    np.testing.assert_allclose(np.bincount(best, minlength=4) / len(best), law, atol=0.01)


def test_drawn_wins_are_the_expected_ones_on_average():
    tie = pref.tie_probability(TABLE, 0.5)
    wins = pref.draw_wins(TABLE, BASE, 400_000, np.random.default_rng(0), tie=tie)
    expected = pref.expected_wins(TABLE, BASE) * (1 - tie) / 3
    np.testing.assert_allclose(wins / 400_000, expected, atol=5e-4)
    assert (wins[:, np.arange(4), np.arange(4)] == 0).all()
    alone = pref.draw_wins(TABLE, BASE, 1000, np.random.default_rng(0))
    assert alone.sum() < 1000, "a response met by itself is no comparison"


def test_a_linear_target_lies_in_its_features_and_a_tilt_adds_the_base():
    options = OPTIONS | {"target_dimension": 2}
    world = draw_world(options, np.random.default_rng(0))
    tilt = draw_world(options, np.random.default_rng(0), tilt=True)
    design = np.column_stack([world.features[..., :2].reshape(12, 2), np.kron(np.eye(3), np.ones((4, 1)))])
    for values in (world.log_target, tilt.reward):
        left = np.linalg.lstsq(design, values.ravel(), rcond=None)[1]
        assert left < 1e-20
    assert np.linalg.lstsq(design, tilt.log_target.ravel(), rcond=None)[1] > 1e-3

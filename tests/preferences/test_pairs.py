"""Preference pairs among samples: their probabilities are exact, their labels follow them; a user's own are checked."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ArtifactError
from alignment_limits.preferences.pairs import draw_pairs, fitted_rewards
from alignment_limits.tables.scores import read_preference_table

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


def test_rewards_fitted_to_many_pairs_are_the_targets():
    found = drawn(pairs=200_000)
    fitted = fitted_rewards(found.chosen, found.rejected, prior_sd=10)
    np.testing.assert_allclose(fitted, GAMMA * (TARGET - TARGET.mean()), atol=0.05)


JUDGED = pl.DataFrame({"prompt_id": ["p", "p", "q"], "sample_id": [0, 1, 0], "value": [1.0, 3.0, 0.0]}).with_columns(
    pl.col("sample_id").cast(pl.Int32)
)


def test_a_users_pairs_get_the_models_probability(tmp_path):
    (tmp_path / "mine.csv").write_text("prompt_id,chosen_id,rejected_id\np,0,1\np,1,0\n")
    found = read_preference_table(tmp_path / "mine.csv", JUDGED, gamma=0.5)
    assert found["probability"].to_list() == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt_id,chosen_id\np,0\n", "has no column rejected_id; it has: prompt_id, chosen_id"),
        ("prompt_id,chosen_id,rejected_id\np,0,1\np,1,1\n", "a sample is preferred to itself, in row 2"),
        (
            "prompt_id,chosen_id,rejected_id\nq,0,1\n",
            "no sample of the study has this prompt_id and rejected_id, in row 1",
        ),
        (
            "prompt_id,chosen_id,rejected_id\np,x,1\n",
            "'chosen_id' is not a whole number from 0 to 2^31 - 1 (x), in row 1",
        ),
    ],
)
def test_a_users_bad_pairs_are_refused_with_the_row(text, message, tmp_path):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ArtifactError) as error:
        read_preference_table(tmp_path / "mine.csv", JUDGED, gamma=0.5)
    assert message in str(error.value)

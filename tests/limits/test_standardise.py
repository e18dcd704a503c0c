"""Standardisation and ensemble aggregators."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import AGGREGATORS, aggregate, apply_standardisation, standardise


def test_standardised_scores_have_mean_zero_per_prompt_and_pooled_sd_one() -> None:
    rng = np.random.default_rng(0)
    raw = 40 + 7 * rng.standard_normal((6, 1)) + rng.gamma(2, size=(6, 50))
    raw[1, 20:] = np.nan
    got = standardise(raw)
    np.testing.assert_allclose(np.nanmean(got.scores, axis=1), 0, atol=1e-13)
    freedom = np.sum(~np.isnan(raw)) - 6
    np.testing.assert_allclose(np.nansum(got.scores**2) / freedom, 1, rtol=1e-12)
    again = apply_standardisation(raw, got.centre, got.scale)
    np.testing.assert_allclose(again, got.scores, rtol=1e-12, atol=1e-12)


def test_standardising_forgets_offsets_per_prompt_and_units() -> None:
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((5, 30))
    moved = 1000 * raw + rng.standard_normal((5, 1))
    np.testing.assert_allclose(standardise(moved).scores, standardise(raw).scores, atol=1e-9)


def test_constant_rewards_are_refused_by_name() -> None:
    with pytest.raises(EstimateError, match="'vader' is constant"):
        standardise(np.full((4, 6), 0.1), name="vader")
    with pytest.raises(EstimateError, match="'x' is constant"):
        standardise(np.arange(5.0)[:, None], name="x")


def test_wrong_centres_and_scales_are_refused() -> None:
    with pytest.raises(EstimateError, match="4 prompts but centres"):
        apply_standardisation(np.ones((4, 2)), np.zeros(3), 1.0)
    with pytest.raises(EstimateError, match="must be positive"):
        apply_standardisation(np.ones((4, 2)), np.zeros(4), 0.0)


MEMBERS = np.array([[[1.0, 5.0, np.nan]], [[3.0, -1.0, np.nan]], [[8.0, 2.0, np.nan]]])


def test_aggregators_by_hand() -> None:
    expected = {
        "mean": [4.0, 2.0],
        "median": [3.0, 2.0],
        "minimum": [1.0, -1.0],
        "mean-variance": [4.0 - 0.5 * 26 / 3, 2.0 - 0.5 * 6.0],
        "entropic": [
            -2 * np.log(np.mean(np.exp(-np.array([1, 3, 8]) / 2))),
            -2 * np.log(np.mean(np.exp(-np.array([5, -1, 2]) / 2))),
        ],
    }
    assert set(expected) == set(AGGREGATORS)
    for name, values in expected.items():
        got = aggregate(MEMBERS, name, coefficient=0.5, temperature=2.0)
        np.testing.assert_allclose(got[0, :2], values, rtol=1e-12)
        assert np.isnan(got[0, 2])


def test_entropic_lies_between_minimum_and_mean_and_reaches_both() -> None:
    members = np.random.default_rng(2).standard_normal((5, 4, 6))
    soft = aggregate(members, "entropic", temperature=1e-4)
    np.testing.assert_allclose(soft, aggregate(members, "minimum"), atol=1e-3)
    np.testing.assert_allclose(aggregate(members, "entropic", temperature=1e6), aggregate(members, "mean"), atol=1e-5)


def test_one_member_is_itself_under_every_aggregator() -> None:
    members = np.random.default_rng(3).standard_normal((1, 4, 6))
    for name in AGGREGATORS:
        np.testing.assert_allclose(aggregate(members, name), members[0], atol=1e-12)


def test_members_that_do_not_fit_together_are_refused() -> None:
    other = MEMBERS.copy()
    other[2, 0, 1] = np.nan
    with pytest.raises(EstimateError, match=r"Members 0 and 2 .* row 0, sample 1"):
        aggregate(other, "mean")
    with pytest.raises(EstimateError, match="Unknown aggregator 'max'"):
        aggregate(MEMBERS, "max")
    with pytest.raises(EstimateError, match="must be positive"):
        aggregate(MEMBERS, "entropic", temperature=0)
    with pytest.raises(EstimateError, match="reward disagreement"):
        aggregate(MEMBERS, "mean-variance", coefficient=-1)

"""The tilt's moments: closed forms, and identities that hold exactly in sample."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import gain_from_covariance, gain_from_jeffreys, tilt

BETAS = np.array([5.0, 1.0, 0.3, 0.05, 0.002])


@pytest.fixture
def scores() -> np.ndarray:
    rng = np.random.default_rng(3)
    array = rng.gamma(2.0, size=(9, 41)) + 50.0 * rng.standard_normal((9, 1))
    array[2, 30:] = np.nan
    array[3, 2:] = np.nan
    array[4, 1:] = np.nan
    array[5] = 7.0
    return array


def brute_force(r: np.ndarray, v: np.ndarray, beta: float) -> tuple[float, ...]:
    keep = ~np.isnan(r)
    r, v = r[keep], v[keep]
    w = np.exp((r - r.max()) / beta)
    w /= w.sum()
    positive = w > 0
    kl = float(np.sum(w[positive] * np.log(len(w) * w[positive])))
    log_mean = float(np.log(np.mean(np.exp((r - r.max()) / beta))) + r.max() / beta)
    gain = w @ v - v.mean()
    covariance = w @ (v * (r - w @ r))
    return kl, log_mean - r.mean() / beta, gain, covariance, w @ (r - w @ r) ** 2, 1.0 / (w @ w)


def test_every_moment_equals_a_loop_over_prompts_and_betas(scores: np.ndarray) -> None:
    other = np.where(np.isnan(scores), np.nan, np.sin(scores))
    table = tilt(scores, {"other": other}, BETAS)["other"]
    got = np.stack([table.kl, table.kl_reverse, table.gain, table.covariance, table.variance, table.ess], axis=-1)
    for x in range(len(scores)):
        for j, beta in enumerate(BETAS):
            expected = brute_force(scores[x], other[x], beta)
            np.testing.assert_allclose(got[x, j], expected, rtol=1e-9, atol=1e-9, err_msg=f"row {x}, beta {beta}")


def test_gain_is_beta_times_jeffreys_and_the_covariance_form(scores: np.ndarray) -> None:
    table = tilt(scores, {"own": scores}, BETAS)["own"]
    np.testing.assert_allclose(gain_from_jeffreys(table), table.gain, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gain_from_covariance(scores, scores, BETAS), table.gain, rtol=1e-9, atol=1e-9)


def test_gain_and_kl_rise_as_beta_falls_and_kl_stays_below_log_m(scores: np.ndarray) -> None:
    table = tilt(scores, {"own": scores}, np.geomspace(10, 1e-3, 40))["own"]
    assert np.all(np.diff(table.kl, axis=1) >= -1e-12)
    assert np.all(np.diff(table.gain, axis=1) >= -1e-12)
    assert np.all(table.kl <= np.log(np.sum(~np.isnan(scores), axis=1))[:, None] + 1e-12)


def test_one_sample_and_constant_prompts_gain_nothing(scores: np.ndarray) -> None:
    table = tilt(scores, {"own": scores}, BETAS)["own"]
    for row in (4, 5):
        assert np.all(table.gain[row] == 0)
        np.testing.assert_allclose(table.kl[row], 0, atol=1e-12)


def test_derivative_of_gain_along_kl_is_beta() -> None:
    r = np.random.default_rng(0).standard_normal((5, 200))
    beta, step = 0.7, 1e-5
    table = tilt(r, {"own": r}, [beta + step, beta - step])["own"]
    slope = np.diff(table.gain, axis=1) / np.diff(table.kl, axis=1)
    np.testing.assert_allclose(slope[:, 0], beta, rtol=1e-6)


def test_extreme_temperatures_stay_finite() -> None:
    r = np.random.default_rng(1).standard_normal((3, 8)) * 1e3
    table = tilt(r, {"own": r}, [1e-6, 1e12])["own"]
    assert np.all(np.isfinite(table.kl))
    np.testing.assert_allclose(table.kl[:, 0], np.log(8), rtol=1e-12)
    np.testing.assert_allclose(table.gain[:, 0], r.max(axis=1) - r.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(table.gain[:, 1], 0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.__setitem__((4, 0), np.nan), "Row 4 of 'optimized' has no score"),
        (lambda s: s.__setitem__((1, 2), np.inf), "infinite at row 1, sample 2"),
    ],
)
def test_unusable_scores_are_refused_by_row(scores: np.ndarray, change: object, message: str) -> None:
    change(scores)  # type: ignore[operator]
    with pytest.raises(EstimateError, match=message):
        tilt(scores, {"own": scores}, BETAS)


def test_other_mask_other_shape_and_bad_betas_are_refused(scores: np.ndarray) -> None:
    other = scores.copy()
    other[0, 3] = np.nan
    with pytest.raises(EstimateError, match=r"'gold' and the optimized reward .* row 0, sample 3"):
        tilt(scores, {"gold": other}, BETAS)
    with pytest.raises(EstimateError, match="'gold' have shape"):
        tilt(scores, {"gold": scores[:, :5]}, BETAS)
    with pytest.raises(EstimateError, match="positive"):
        tilt(scores, {"gold": scores}, [1.0, 0.0])
    with pytest.raises(EstimateError, match="not numbers"):
        tilt([["a", "b"]], {"gold": scores}, BETAS)

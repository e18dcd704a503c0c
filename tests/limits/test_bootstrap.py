"""Intervals: coverage, determinism, agreement with theory and with re-solving in every replicate."""

import numpy as np
import pytest
import scipy.stats

from alignment_limits.errors import EstimateError
from alignment_limits.limits import CorrectedCurve, PromptBootstrap, tilt
from alignment_limits.limits.bootstrap import no_lower_than_of_a_variance, no_shorter_than_students
from alignment_limits.limits.means import interval, interval_of_unlike


def test_interval_of_a_normal_mean_is_the_t_interval() -> None:
    values = np.random.default_rng(0).standard_normal((40, 3))
    low, high = PromptBootstrap(40, replicates=20_000).interval(values)
    half = 2.0227 * values.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose((high - low) / 2, half, rtol=0.06)


def test_studentised_interval_covers_a_skewed_mean_better_than_percentile() -> None:
    values = np.random.default_rng(1).standard_exponential((30, 2000))
    covered = {}
    for method in ("studentised", "percentile"):
        low, high = PromptBootstrap(30, replicates=1000, method=method).interval(values)
        covered[method] = np.mean((low <= 1) & (high >= 1))
    assert 0.93 < covered["studentised"] < 0.97
    assert covered["percentile"] < covered["studentised"] - 0.01


@pytest.mark.parametrize("mirrored", [1, -1])
def test_a_mean_of_lognormal_contributions_is_covered(mirrored: int) -> None:
    """Log-sd 1: of 64 such prompts, 90 % of studies lack the few large ones that an interval needs to know of."""
    values = mirrored * np.random.default_rng(2).lognormal(sigma=1.0, size=(64, 2000))
    low, high = PromptBootstrap(64, replicates=1000).interval(values)
    missed_above, missed_below = np.mean(low > mirrored * np.exp(0.5)), np.mean(high < mirrored * np.exp(0.5))
    assert 0.935 < 1 - missed_above - missed_below < 0.965
    assert (missed_below if mirrored == 1 else missed_above) < 0.06


def test_the_end_on_the_side_of_a_long_tail_allows_for_one_unit_more_like_the_furthest() -> None:
    """Of a skewness of 1 or less nothing, from 2 on all of it: 6 values of 9 among 58 zeros have 2.8."""
    values = np.zeros((64, 3))
    values[:6, 0] = 9.0
    values[:, 1], values[:32, 2] = -values[:, 0], 1.0
    found = PromptBootstrap(64, seed=1).interval(values)
    bare = studentised(values, PromptBootstrap(64, seed=1).counts)
    furthest = (9 - values[:, 0].mean()) / 64
    np.testing.assert_allclose(found[0] - bare[0], [0, -furthest, 0], atol=1e-12)
    np.testing.assert_allclose(found[1] - bare[1], [furthest, 0, 0], atol=1e-12)


def studentised(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Bootstrap-t ends (2, K), replicate by replicate."""
    n, estimate = len(values), values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    t = []
    for row in counts.astype(int):
        again = np.repeat(values, row, axis=0)
        if again.std(axis=0).all():
            t.append((again.mean(axis=0) - estimate) / (again.std(axis=0) / np.sqrt(n - 1)))
    return estimate - np.quantile(t, [0.975, 0.025], axis=0) * error


def test_counts_made_in_batches_are_those_of_one_replicate_after_another() -> None:
    rng = np.random.default_rng(7)
    alone = [np.bincount(rng.integers(0, 700, 700), minlength=700) for _ in range(200)]
    counts = PromptBootstrap(700, replicates=200, seed=7).counts  # two batches and a part of one
    np.testing.assert_array_equal(counts, alone)


def test_ratio_interval_is_paired() -> None:
    rng = np.random.default_rng(2)
    below = rng.gamma(2, size=(100, 1))
    low, high = PromptBootstrap(100).ratio(0.9 * below, below)
    np.testing.assert_allclose([low[0], high[0]], 0.9, rtol=1e-9)


def test_many_prompts_use_the_normal_interval_and_agree_with_the_bootstrap() -> None:
    values = np.random.default_rng(3).standard_normal((6000, 2))
    low, high = PromptBootstrap(6000).interval(values)
    np.testing.assert_allclose(high - low, 2 * 1.959963985 * values.std(axis=0, ddof=1) / np.sqrt(6000), rtol=1e-8)


def test_nan_columns_stay_nan_and_constants_have_no_width() -> None:
    values = np.ones((20, 3))
    values[4, 1] = np.nan
    low, high = PromptBootstrap(20).interval(values)
    np.testing.assert_array_equal(np.isnan(low), [False, True, False])
    np.testing.assert_allclose([low[0], high[0]], 1.0)


def test_same_seed_same_interval_other_seed_other_interval() -> None:
    values = np.random.default_rng(4).standard_normal((30, 1))
    first, again, other = (PromptBootstrap(30, seed=s).interval(values)[0] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_linearised_replicates_equal_solving_again_in_every_replicate() -> None:
    rng = np.random.default_rng(5)
    r = rng.lognormal(sigma=0.5, size=(60, 1)) * rng.standard_normal((60, 80))
    kappa = 0.7
    lam = np.geomspace(0.1, 20, 400)
    table = tilt(r, {"own": r}, 1 / lam)["own"]
    boot = PromptBootstrap(60, replicates=300)
    kl, gain = boot.replicates(table.kl), boot.replicates(table.gain)
    solved = np.array([np.interp(kappa, k, g) for k, g in zip(kl, gain, strict=True)])
    curve = CorrectedCurve(r)
    points = curve.at(np.array([kappa]))
    plain = _plugin_contributions(table, kappa)
    linear = boot.replicates(plain[:, None])[:, 0]
    assert np.corrcoef(solved, linear)[0, 1] > 0.999
    np.testing.assert_allclose(linear.std(), solved.std(), rtol=0.05)
    np.testing.assert_allclose(plain.mean(), points.levels[0, 0, 0], rtol=1e-4)


def _plugin_contributions(table: object, kappa: float) -> np.ndarray:
    kl = table.kl.mean(axis=0)  # type: ignore[attr-defined]
    j = int(np.argmin(np.abs(kl - kappa)))
    return table.gain[:, j] + table.beta[j] * (kappa - table.kl[:, j])  # type: ignore[attr-defined]


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(EstimateError, match="10 bootstrap replicates"):
        PromptBootstrap(10, replicates=10)
    with pytest.raises(EstimateError, match="Confidence level"):
        PromptBootstrap(10, level=95)
    with pytest.raises(EstimateError, match="no replicates"):
        PromptBootstrap(1).replicates(np.ones((1, 1)))


def test_one_prompt_that_differs_does_not_blow_up_the_interval() -> None:
    """A lone tie lowers one prompt's KL a little; rounding separates the others."""
    rng = np.random.default_rng(0)
    values = 0.6363 + 1e-9 * rng.standard_normal((64, 1))
    values[5] -= 0.02
    low, high = PromptBootstrap(64).interval(values)
    assert 0.6363 - 0.02 < low[0] <= values.mean() <= high[0] < 0.6363 + 1e-6


def test_three_prompts_that_differ_do_not_blow_up_the_interval_either() -> None:
    values = np.full((64, 1), 0.5) + 1e-9 * np.random.default_rng(1).standard_normal((64, 1))
    values[:3] += [[0.02], [0.03], [0.01]]
    low, high = PromptBootstrap(64).interval(values)
    assert 0.5 - 1e-6 < low[0] <= values.mean() <= high[0] < 0.5 + 0.006  # one unseen may be twice as far off


def test_prompts_of_unlike_counts_get_no_less_than_students_width() -> None:
    """20 prompts with 2 to 200 samples: mean ± t(19) s / √20, where that is wider than the bootstrap's."""
    values = np.random.default_rng(3).standard_normal((20, 400))
    counts = np.linspace(2, 200, 20).astype(int)
    boot = PromptBootstrap(20, replicates=200)
    low, high = interval_of_unlike(boot, values, counts)
    own_low, own_high = interval(boot, values)
    reach = scipy.stats.t.ppf(0.975, 19) * values.std(axis=0, ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(low, np.minimum(own_low, values.mean(axis=0) - reach), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(high, np.maximum(own_high, values.mean(axis=0) + reach), rtol=1e-9, atol=1e-12)
    assert np.mean(low < own_low - 1e-9) > 0.1, "Student's decides somewhere"


def test_the_upper_end_of_a_variance_of_few_units_is_high_enough() -> None:
    rng, above, students = np.random.default_rng(3), [], []
    for _ in range(300):
        x = rng.normal(size=16)
        boot, each = PromptBootstrap(16, replicates=100), ((x - x.mean()) ** 2 * 16 / 15)[:, None]
        _, high = no_shorter_than_students(boot, each, *boot.interval(each))
        students.append(high[0] >= 1)
        above.append(no_lower_than_of_a_variance(boot, each, high)[0] >= 1)
    assert np.mean(students) < 0.93, "Student's end is too low where the units happen to be alike"
    assert np.mean(above) > 0.97
    gaps = np.array([[1.0, 2.0], [np.nan, 3.0], [2.0, 4.0]])
    ends = no_lower_than_of_a_variance(PromptBootstrap(3, replicates=100), gaps, np.array([9e9, 0.0]))
    assert ends[0] == 9e9
    assert ends[1] > 3

"""Diagnostics: Pareto k against arviz-stats, ties, ceilings, verdicts."""

import numpy as np
import pytest

from alignment_limits.limits import limit_at, pareto_k
from alignment_limits.limits.reliability import log_m_ceiling, prompt_ceilings, tie_rate
from alignment_limits.limits.tails import HEAVY_TAIL, tail_ratio

arviz_base = pytest.importorskip("arviz_stats.base")


@pytest.mark.parametrize("samples", [64, 257, 1000])
def test_pareto_k_equals_arviz_stats(samples: int) -> None:
    r = np.random.default_rng(0).gamma(1.5, size=(4, samples))
    inverse = np.array([0.2, 0.6, 1.0, 3.0])
    got = pareto_k(r, inverse)
    for x in range(len(r)):
        for j, lam in enumerate(inverse):
            # arviz takes log likelihoods and weighs by their inverse
            _, expected = arviz_base.array_stats.psislw(-lam * r[x])
            np.testing.assert_allclose(got[x, j], expected, rtol=1e-6, atol=1e-8)


def test_pareto_k_finds_the_tail_index_of_exponential_rewards() -> None:
    """exp(lambda r) of Exp(1) rewards is Pareto with shape exactly lambda."""
    r = np.random.default_rng(1).standard_exponential((64, 4000))
    np.testing.assert_allclose(np.median(pareto_k(r, np.array([0.3, 0.8])), axis=0), [0.3, 0.8], atol=0.05)


def test_pareto_k_is_nan_where_there_is_no_tail() -> None:
    rng = np.random.default_rng(2)
    assert np.isnan(pareto_k(rng.standard_normal((1, 10)), np.array([1.0])))[0, 0]
    assert np.isnan(pareto_k((rng.random((1, 200)) < 0.5) * 1.0, np.array([1.0])))[0, 0]
    assert np.isnan(pareto_k((rng.random((1, 200)) < 0.05) * 1.0, np.array([1.0])))[0, 0]


def test_ragged_pareto_k_equals_that_of_the_prompt_alone() -> None:
    r = np.random.default_rng(3).standard_normal((3, 128))
    r[1, 70:] = np.nan
    np.testing.assert_allclose(pareto_k(r, np.array([1.0]))[1], pareto_k(r[1:2, :70], np.array([1.0]))[0], rtol=1e-12)


def test_tie_rate_and_ceilings_count_tied_samples() -> None:
    r = np.array([[1.0, 2.0, 2.0, 3.0], [5.0, 5.0, 5.0, np.nan], [1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_allclose(tie_rate(r), [0.5, 1.0, 0.0])
    np.testing.assert_allclose(prompt_ceilings(r), [np.log(4), 0.0, np.log(4)])
    np.testing.assert_allclose(log_m_ceiling(r), np.log(4) * 2 / 3)


def test_every_unreliable_row_says_why_and_every_reliable_one_is_silent() -> None:
    r = np.random.default_rng(4).standard_exponential((40, 64))
    table = limit_at(r, [0.05, 0.5, 1.5, 3.0, 4.1, 5.0])
    assert np.array_equal(table.reliable, table.reason == "")
    assert not table.reliable[2:].any()


def test_exponential_tails_are_told_from_gaussian_ones_even_in_few_small_samples() -> None:
    """64 prompts x 64 samples: the mean-excess ratios of 100 studies of each lie apart, but for a chance of 1 %."""
    draws = [np.random.default_rng(seed) for seed in range(100)]
    light = [tail_ratio(rng.standard_normal((64, 64))) for rng in draws]
    heavy = [tail_ratio(rng.standard_exponential((64, 64))) for rng in draws]
    assert np.mean(np.array(light) < HEAVY_TAIL) >= 0.99
    assert np.mean(np.array(heavy) > HEAVY_TAIL) >= 0.99

"""Means to which a few prompts add what the others do not: the exact binomial case, and coverage by its known law."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from alignment_limits.limits import PromptBootstrap, best_of_n
from alignment_limits.limits.bootstrap import lone_interval
from alignment_limits.limits.ranks import kl_bound

PROMPTS = 64


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    return float(beta.ppf(0.025, hits, trials - hits + 1)), float(beta.ppf(0.975, hits + 1, trials - hits))


@pytest.mark.parametrize("hits", [1, 2, 4])
def test_alike_units_at_the_end_of_the_support_have_clopper_and_pearsons_interval(hits: int) -> None:
    values = np.repeat([1.0, 0.0], [hits, PROMPTS - hits])
    mean = values.mean()
    low, high = lone_interval(values - mean, 0.95, replicates=40_000, seed=0, support=(-mean, 1 - mean))
    np.testing.assert_allclose([mean + low, mean + high], clopper_pearson(hits, PROMPTS), rtol=0.03, atol=1e-4)
    # The other way round, as constant prompts among others are.
    down, up = lone_interval(mean - values, 0.95, replicates=40_000, seed=0, support=(mean - 1, mean))
    np.testing.assert_allclose([up, down], [-low, -high], rtol=0.03, atol=1e-4)


def test_best_of_ns_kl_covers_where_one_prompt_in_twenty_is_constant() -> None:
    """By the number of constant prompts, whose law is known: what each gives, times how often it comes."""
    bound = float(kl_bound(np.array([4]))[0])
    covered, width = 0.0, 0.0
    scores = np.random.default_rng(0).standard_normal((PROMPTS, 16))
    for constant in range(11):
        r = scores.copy()
        r[:constant] = 0.0
        t = best_of_n(r, {"own": r}, ns=[4], replicates=1000)["own"]
        chance = binom.pmf(constant, PROMPTS, 0.05)
        covered += chance * (t.kl_low[0] <= 0.95 * bound <= t.kl_high[0])
        width += chance * (t.kl_high[0] - t.kl_low[0])
        assert t.kl_reliable[0]
    assert 0.93 <= covered <= 0.975
    # Clopper and Pearson's, averaged in the same way, is 0.114 of the bound.
    assert width == pytest.approx(0.114 * bound, rel=0.12)


def test_a_mean_that_is_the_same_in_every_prompt_has_no_width() -> None:
    low, high = PromptBootstrap(PROMPTS).interval(np.full((PROMPTS, 1), 0.3))
    np.testing.assert_allclose([low[0], high[0]], 0.3, rtol=1e-12)


def test_what_was_not_seen_may_be_further_off_but_within_the_support() -> None:
    values = np.zeros(PROMPTS)
    values[:2] = [0.1, 0.2]
    away = values - values.mean()
    free = lone_interval(away, 0.95, replicates=20_000, seed=1, support=(-np.inf, np.inf))
    held = lone_interval(away, 0.95, replicates=20_000, seed=1, support=(-np.inf, 0.2 - values.mean()))
    assert free[0] == held[0]
    assert free[1] > 1.2 * held[1]

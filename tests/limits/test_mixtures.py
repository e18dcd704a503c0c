"""Worlds whose prompts differ: laws against SciPy's, limits and best-of-n against draws."""

import numpy as np
import pytest
from scipy import stats

from alignment_limits.limits.worlds import MIXTURES, Levels, pass_rates, rubric, student

LEVELS = [name for name, world in MIXTURES.items() if isinstance(world, Levels)]


@pytest.mark.parametrize("name", LEVELS)
def test_the_ceiling_of_levels_is_the_kl_of_the_strongest_tilt(name: str) -> None:
    world = MIXTURES[name]
    kl, gain = world.tilted(1e5)
    np.testing.assert_allclose(kl, world.ceiling, rtol=1e-9)
    assert world.limit(world.ceiling + 0.1) == pytest.approx(gain)


def test_laws_of_levels_are_those_they_are_named_after() -> None:
    at = stats.beta(0.3, 0.7).ppf((np.arange(4000) + 0.5) / 4000)
    np.testing.assert_allclose(pass_rates().population[:, 1], at, rtol=2e-3, atol=5e-5)
    density = stats.t(10).pdf(np.linspace(-10, 10, 4001))
    np.testing.assert_allclose(student().population[0], density / density.sum(), rtol=1e-9)
    marks = stats.norm(1 + 4 * 0.7, 0.8).cdf([1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(rubric(5).population[-1], np.diff(marks, prepend=0, append=1), rtol=1e-9)


@pytest.mark.parametrize("name", LEVELS)
def test_where_every_prompt_spends_its_own_kl_the_limit_is_the_mean_of_single_prompts_limits(name: str) -> None:
    world = MIXTURES[name]
    some = Levels(levels=world.levels, population=world.population[::400])
    alone = [Levels(levels=world.levels, population=row[None], ceiling=-np.log(row[-1])) for row in some.population]
    assert some.limit_per_prompt(0.3) == pytest.approx(np.mean([each.limit(0.3) for each in alone]), rel=1e-6)


@pytest.mark.parametrize("name", MIXTURES)
def test_draws_have_the_gain_of_best_of_n_and_of_the_tilt(name: str) -> None:
    world = MIXTURES[name]
    drawn = world.draw(np.random.default_rng(0), 4000, 64)
    kept = [row[~np.isnan(row)] for row in drawn]
    inverse = 0.1
    best = np.array([row[:4].max() - row.mean() for row in kept if len(row) >= 4])
    tilted = np.array([np.average(row, weights=np.exp(inverse * row)) - row.mean() for row in kept if len(row) >= 32])
    alike = 2 if name == "clusters" else 1  # four prompts share one spread: twice the standard error
    for found, expected in ((best, world.best_of_n(4)[1]), (tilted * (1 + 1 / 64), world.tilted(inverse)[1])):
        assert abs(found.mean() - expected) < 4.5 * alike * found.std() / np.sqrt(len(found))

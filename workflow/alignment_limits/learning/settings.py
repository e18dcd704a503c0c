"""What preference data may depart from the model in: one setting, at one level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alignment_limits.learning.preferences import (
    best_of_n_sampler,
    expected_wins,
    preferences,
    tempered,
    tie_probability,
    with_annotators,
    with_context_effects,
    with_label_noise,
    with_ties_flipped,
)
from alignment_limits.learning.worlds import World

ANNOTATORS = 5


@dataclass(frozen=True)
class Comparisons:
    """How pairs are made and judged in a world, and what the learner believes of it.

    `table` (X, Y, Y) holds P(a ≻ b), `log_sampler` (X, Y) log μ, `tie` (X, Y, Y) what share of the pairs is dropped.
    `as_modelled`: preferences follow the target as the learner believes.
    """

    table: np.ndarray
    log_sampler: np.ndarray
    gamma: float
    tie: np.ndarray | None = None
    reward_dimension: int | None = None
    as_modelled: bool = True

    def expected_wins(self) -> np.ndarray:
        """Wins (X, Y, Y) of one pair, on average."""
        kept = 1.0 if self.tie is None else 1 - self.tie
        return expected_wins(self.table, self.log_sampler) * kept / len(self.table)


def comparisons(
    setting: str, level: float, world: World, p: Mapping[str, Any], rng: np.random.Generator
) -> Comparisons:
    """Pairs of the base judged by the model of [B], but for what this setting changes.

    Random effects and biases are drawn from `rng` and scaled by the level: a seed's are the same at all levels.

    Args:
        p: the study file's `learning.world`.
    """
    gamma = p["gamma"]
    table = preferences(world.log_target, gamma=gamma)
    plain = Comparisons(table, world.log_base, gamma, reward_dimension=p["reward_dimension"])
    if setting == "label-noise":
        return replace(plain, table=with_label_noise(table, level), as_modelled=level == 0)
    if setting == "ties-flipped":
        return replace(plain, table=with_ties_flipped(table, level), as_modelled=level == 0)
    if setting == "ties-dropped":
        return replace(plain, tie=tie_probability(table, level))
    if setting == "context-effects":
        drawn = rng.standard_normal(table.shape)
        effects = (drawn - drawn.swapaxes(-2, -1)) / np.sqrt(2)
        return replace(plain, table=with_context_effects(table, level * effects), as_modelled=level == 0)
    if setting == "annotator-bias":
        biases = rng.standard_normal((ANNOTATORS, *world.log_base.shape))
        return replace(plain, table=with_annotators(table, level * biases), as_modelled=level == 0)
    if setting == "gamma-error":
        return replace(plain, gamma=gamma * level, as_modelled=level == 1)
    if setting == "tempered-pairs":
        return replace(plain, log_sampler=tempered(world.log_base, level))
    if setting == "best-of-n-pairs":
        return replace(plain, log_sampler=best_of_n_sampler(world.log_base, world.reward, level))
    if setting == "reward-dimension":
        return replace(plain, reward_dimension=int(level))
    return plain

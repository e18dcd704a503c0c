"""Preference pairs among the samples of one prompt, judged exactly: P(a ≻ b) from log π₀ and r alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alignment_limits.learning.preferences import best_of_n_sampler
from alignment_limits.learning.settings import comparisons
from alignment_limits.learning.tabular import log_softmax, reward_fit
from alignment_limits.learning.worlds import World


class Pairs(NamedTuple):
    """Indices of chosen and rejected samples, and the probability of that label.

    `probability` is P(chosen ≻ rejected) of the model, before any departure; `observed` of what was in fact judged.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    probability: np.ndarray
    observed: np.ndarray


def draw_pairs(
    log_target: np.ndarray,
    log_base: np.ndarray,
    reward: np.ndarray,
    pairs: int,
    rng: np.random.Generator,
    *,
    gamma: float,
    setting: str = "as-modelled",
    level: float = 0.0,
) -> Pairs:
    """Pairs of two different samples, i.i.d. from the setting's sampler, with a label drawn for each.

    The samples are the base's own, so a pair from the base is any two of them; one from π₀^{1/T} weights them by
    π₀^{1/T − 1}, one of best-of-n as often as the best of n of them by the reward would be each. Ties that are dropped
    leave fewer than `pairs`.

    Args:
        log_target: log π* up to a constant, (M,); for Bradley-Terry on a reward, the reward.
        log_base: log π₀ (M,), needed for tempered pairs only.
        reward: what best-of-n goes by (M,).
    """
    if len(reward) < 2:
        none = np.zeros(0)
        return Pairs(none.astype(int), none.astype(int), none, none)
    uniform = np.full((1, len(reward)), -np.log(len(reward)))
    world = World(log_target[None], uniform, np.zeros((1, len(reward), 0)))
    options = {"gamma": gamma, "reward_dimension": None}
    model = comparisons("as-modelled", 0.0, world, options, rng)
    judged = comparisons(setting, level, world, options, rng)
    sampler = uniform[0]
    if setting == "tempered-pairs":
        sampler = log_softmax((1 / level - 1) * log_base)
    elif setting == "best-of-n-pairs":
        sampler = best_of_n_sampler(uniform, reward[None], level)[0]
    cells = np.exp(sampler[:, None] + sampler[None, :])
    np.fill_diagonal(cells, 0)
    first, second = np.divmod(rng.choice(cells.size, size=pairs, p=(cells / cells.sum()).ravel()), len(reward))
    if judged.tie is not None:
        kept = rng.random(pairs) >= judged.tie[0, first, second]
        first, second = first[kept], second[kept]
    won = rng.random(len(first)) < judged.table[0, first, second]
    chosen, rejected = np.where(won, first, second), np.where(won, second, first)
    return Pairs(chosen, rejected, model.table[0, chosen, rejected], judged.table[0, chosen, rejected])


def fitted_rewards(chosen: np.ndarray, rejected: np.ndarray, *, prior_sd: float) -> np.ndarray:
    """Bradley-Terry rewards (M,) of one prompt's samples 0 … M − 1 that are in some pair, under a normal prior."""
    size = int(max(chosen.max(), rejected.max())) + 1
    wins = np.zeros((size, size))
    np.add.at(wins, (chosen, rejected), 1)
    return reward_fit(wins, ridge=prior_sd**-2.0)

"""Preferences: their model, departures from it, and pairs drawn from it.

The model is that of "Beyond RLHF: A Unified Theoretical Framework of Alignment" (arXiv 2506.01523). A preference table
P[..., a, b] contains the probability that a is preferred to b; P[a, b] + P[b, a] = 1. In enumerated worlds every
probability is known. Among the samples of a prompt P follows from log π₀ and r alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from alignment_limits.preferences.fits import log_softmax, margins, reward_fit
from alignment_limits.preferences.objectives import sigmoid


def preferences(log_target: np.ndarray, *, gamma: float) -> np.ndarray:
    """P(a ≻ b) = σ(γ log π*(a)/π*(b)).

    Args:
        log_target: log π* up to a constant, (..., Y).
        gamma: inverse temperature.

    Returns:
        Preference table (..., Y, Y).

    Example:
        >>> preferences(np.log([0.25, 0.75]), gamma=1.0).round(3)
        array([[0.5 , 0.25],
               [0.75, 0.5 ]])

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Preferences define a target".
    """
    return sigmoid(gamma * margins(log_target))


def with_label_noise(table: np.ndarray, rate: float) -> np.ndarray:
    """A preference table (..., Y, Y) whose labels are flipped with the probability `rate`.

    Example:
        >>> with_label_noise(np.array([0.9]), 0.1).round(3).tolist()
        [0.82]
    """
    return (1 - 2 * rate) * table + rate


def tie_probability(table: np.ndarray, nu: float) -> np.ndarray:
    """P(tie) of a table (..., Y, Y) by Davidson (1970): a wins, b wins, tie have odds √(P_ab/P_ba), √(P_ba/P_ab), ν.

    Example:
        >>> tie_probability(np.array([0.5]), 1.0).round(3).tolist()  # ν/(2 + ν) between equals
        [0.333]
    """
    tie = nu * np.sqrt(table * (1 - table))
    return tie / (1 + tie)


def with_ties_flipped(table: np.ndarray, nu: float) -> np.ndarray:
    """A table (..., Y, Y) with Davidson's ties recorded as a win of either response with probability 1/2.

    Dropped ties leave the table unchanged and only reduce the number of pairs.

    Example:
        >>> with_ties_flipped(np.array([0.8]), 1.0).round(3).tolist()
        [0.714]
    """
    tie = tie_probability(table, nu)
    return (1 - tie) * table + tie / 2


def with_context_effects(table: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """A response's utility depends on the other response: logit P[a, b] + C[a, b], C antisymmetric (..., Y, Y).

    Example:
        >>> with_context_effects(np.array([0.5]), np.array([np.log(3)])).round(3).tolist()
        [0.75]
    """
    return sigmoid(np.log(table) - np.log1p(-table) + effects)


def with_annotators(table: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Each pair is judged by one of K annotators, chosen at random, whose rewards have biases (K, ..., Y).

    Example:
        >>> with_annotators(np.full((2, 2), 0.5), np.array([[0.0, 0.0], [np.log(3), 0.0]])).round(3)
        array([[0.5  , 0.625],
               [0.375, 0.5  ]])
    """
    return sigmoid((np.log(table) - np.log1p(-table))[None] + margins(biases)).mean(0)


def tempered(log_base: np.ndarray, temperature: float) -> np.ndarray:
    """log μ for μ ∝ π₀^{1/T}, (..., Y).

    Example:
        >>> np.exp(tempered(np.log([0.1, 0.9]), 2.0)).round(3)
        array([0.25, 0.75])
    """
    return log_softmax(log_base / temperature)


def best_of_n_sampler(log_base: np.ndarray, reward: np.ndarray, n: float) -> np.ndarray:
    """log μ of best-of-n from the base, by a reward without ties: F(y)ⁿ − F(y⁻)ⁿ, F the distribution of the rank.

    Args:
        log_base: log π₀ (..., Y).
        reward: (..., Y).
        n: draws, positive.

    Returns:
        log μ (..., Y).

    Example:
        >>> np.exp(best_of_n_sampler(np.log([0.5, 0.5]), np.array([0.0, 1.0]), 2)).round(3)
        array([0.25, 0.75])
    """
    order = np.argsort(reward, -1)
    up_to = np.cumsum(np.take_along_axis(np.exp(log_base), order, -1), -1)
    up_to[..., -1] = 1.0
    shares = np.diff(up_to**n, axis=-1, prepend=0.0)
    out = np.empty_like(shares)
    np.put_along_axis(out, order, np.log(np.maximum(shares, 1e-300)), -1)
    return out


def draw_wins(
    table: np.ndarray, log_sampler: np.ndarray, pairs: int, rng: np.random.Generator, *, tie: np.ndarray | None = None
) -> np.ndarray:
    """Wins in `pairs` i.i.d. comparisons: x uniform, a and b from μ(·|x), the winner from the table.

    A response compared with itself carries no information. It counts as a pair and is not recorded. So does a tie.

    Args:
        table: P(a ≻ b) (X, Y, Y).
        log_sampler: log μ (X, Y).
        pairs: number of comparisons.
        rng: of all draws.
        tie: probability of a tie (X, Y, Y); default: no ties.

    Returns:
        Counts (X, Y, Y).

    Example:
        >>> certain = np.array([[[0.5, 1.0], [0.0, 0.5]]])
        >>> draw_wins(certain, np.log([[0.5, 0.5]]), 100, np.random.default_rng(0))
        array([[[ 0, 42],
                [ 0,  0]]])
    """
    sampler = np.exp(log_sampler)
    cells = sampler[:, :, None] * sampler[:, None, :] / len(sampler)
    met = rng.multinomial(pairs, (cells / cells.sum()).ravel()).reshape(cells.shape)
    if tie is not None:
        met = rng.binomial(met, 1 - tie)
    first = rng.binomial(met, np.clip(table, 0, 1))
    wins = first + (met - first).swapaxes(-2, -1)
    diagonal = np.arange(wins.shape[-1])
    wins[:, diagonal, diagonal] = 0
    return wins


def expected_wins(table: np.ndarray, log_sampler: np.ndarray) -> np.ndarray:
    """The mean of `draw_wins` per pair and context: the table of wins of the population.

    Args:
        table: P(a ≻ b) (..., Y, Y).
        log_sampler: log μ (..., Y).

    Returns:
        (..., Y, Y); the sum of each context is the probability that a pair consists of two different responses.

    Example:
        >>> expected_wins(np.array([[0.5, 0.8], [0.2, 0.5]]), np.log([0.5, 0.5])).round(3)
        array([[0. , 0.4],
               [0.1, 0. ]])
    """
    sampler = np.exp(log_sampler)
    wins = 2 * sampler[..., :, None] * sampler[..., None, :] * table
    diagonal = np.arange(wins.shape[-1])
    wins[..., diagonal, diagonal] = 0
    return wins


class Pairs(NamedTuple):
    """Labelled pairs of samples.

    Attributes:
        chosen, rejected: indices of the samples.
        probability: P(chosen ≻ rejected) by the model, before any departure.
        observed: the same by the table that judged the pair.
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

    The samples are the base's own, so a pair of the base is any two of them. A pair of π₀^{1/T} weights samples by
    π₀^{1/T − 1}. A pair of best-of-n weights each sample by how often it is the best of n of them by the reward.

    Args:
        log_target: log π* up to a constant, (M,); for Bradley-Terry on a reward, the reward.
        log_base: log π₀ (M,), needed for tempered pairs only.
        reward: the reward that best-of-n uses (M,).
        pairs: their number.
        rng: of all draws.
        gamma: inverse temperature of the preferences.
        setting, level: departure from the model, as for `comparisons`.

    Returns:
        The pairs: fewer than `pairs` where ties are dropped, and none from fewer than two samples.

    Example:
        >>> r = np.array([0.0, 1.0, 2.0])
        >>> drawn = draw_pairs(r, np.zeros(3), r, 1000, np.random.default_rng(0), gamma=50.0)
        >>> bool((drawn.chosen > drawn.rejected).all())
        True
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
    """Bradley-Terry rewards of one prompt's samples that occur in pairs, under a normal prior.

    Args:
        chosen, rejected: indices of samples (pairs,).
        prior_sd: standard deviation of the prior.

    Returns:
        Rewards (M,) of samples 0 … M − 1, of mean 0.

    Example:
        >>> fitted_rewards(np.array([0, 0, 0, 1]), np.array([1, 1, 1, 0]), prior_sd=1e3).round(3)
        array([ 0.549, -0.549])
    """
    size = int(max(chosen.max(), rejected.max())) + 1
    wins = np.zeros((size, size))
    np.add.at(wins, (chosen, rejected), 1)
    return reward_fit(wins, ridge=prior_sd**-2.0)


@dataclass(frozen=True)
class World:
    """Target and base of an enumerated world.

    Attributes:
        log_target, log_base: log π* and log π₀ (X, Y).
        features: (X, Y, D), of which the first ones span log π*; D = 0 if none are known.
    """

    log_target: np.ndarray
    log_base: np.ndarray
    features: np.ndarray

    @property
    def reward(self) -> np.ndarray:
        """The reward whose tilt of the base at β = 1 is the target: log π*/π₀ (X, Y), in nats."""
        return self.log_target - self.log_base


def draw_world(p: Mapping[str, Any], rng: np.random.Generator, *, tilt: bool = False) -> World:
    """The paper's toy: logits of target and base i.i.d. normal; with `target_dimension` the target's are linear.

    Args:
        p: the study file's `learning.world`.
        rng: of all draws.
        tilt: add the target's logits to the base's, so that the target is a tilt of the base.

    Example:
        >>> toy = {"contexts": 2, "responses": 3, "target_dimension": None, "base_sd": 1.0, "target_sd": 1.0}
        >>> draw_world(toy, np.random.default_rng(0)).log_base.shape
        (2, 3)
    """
    shape = p["contexts"], p["responses"]
    own = p["target_dimension"] or 0
    features = rng.standard_normal((*shape, max(own, shape[0] * (shape[1] - 1)) if own else 0))
    weights = rng.standard_normal(own) / np.sqrt(max(own, 1))
    logits = features[..., :own] @ weights if own else rng.standard_normal(shape)
    log_base = log_softmax(p["base_sd"] * rng.standard_normal(shape))
    log_target = log_softmax(p["target_sd"] * logits + (log_base if tilt else 0.0))
    return World(log_target, log_base, features)


ANNOTATORS = 5


@dataclass(frozen=True)
class Comparisons:
    """How pairs are drawn and judged in a world, and what the learner assumes.

    Attributes:
        table: P(a ≻ b) (X, Y, Y).
        log_sampler: log μ (X, Y).
        gamma: the γ that the learner assumes.
        tie: share of the pairs that is dropped (X, Y, Y).
        reward_dimension: of the learner's reward class; None: all tables.
        as_modelled: preferences follow the target as the learner assumes.
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
    """Pairs of the base judged by the paper's model, except for the change of this setting.

    Random effects and biases are drawn from `rng` and scaled by the level. Those of a seed are the same at all levels.

    Args:
        setting: such as "label-noise"; docs/preferences.md lists them. An unknown one changes nothing.
        level: size of the setting's departure.
        world: target and base.
        p: the study file's `learning.world`.
        rng: of effects and biases.

    Returns:
        How pairs are drawn and judged.

    Example:
        >>> world = World(np.log([[0.25, 0.75]]), np.log([[0.5, 0.5]]), np.zeros((1, 2, 0)))
        >>> given = {"gamma": 1.0, "reward_dimension": None}
        >>> comparisons("label-noise", 0.1, world, given, np.random.default_rng(0)).table.round(3).tolist()
        [[[0.5, 0.3], [0.7, 0.5]]]
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

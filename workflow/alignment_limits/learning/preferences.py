"""Who is preferred to whom: the model of [B], what can go wrong with it, and pairs drawn from it.

A preference table P[..., a, b] holds the probability that a is preferred to b; P[a, b] + P[b, a] = 1.
"""

from __future__ import annotations

import numpy as np

from alignment_limits.learning.objectives import sigmoid
from alignment_limits.learning.tabular import log_softmax, margins


def preferences(log_target: np.ndarray, *, gamma: float) -> np.ndarray:
    """P(a ≻ b) = σ(γ log π*(a)/π*(b)), (..., Y) → (..., Y, Y)."""
    return sigmoid(gamma * margins(log_target))


def with_label_noise(table: np.ndarray, rate: float) -> np.ndarray:
    """Every label flipped with this probability."""
    return (1 - 2 * rate) * table + rate


def tie_probability(table: np.ndarray, nu: float) -> np.ndarray:
    """Davidson's ties: a, b and a tie with odds √(P_ab/P_ba) : √(P_ba/P_ab) : ν; ν/(2 + ν) between equals."""
    tie = nu * np.sqrt(table * (1 - table))
    return tie / (1 + tie)


def with_ties_flipped(table: np.ndarray, nu: float) -> np.ndarray:
    """Ties recorded as a win of either with probability 1/2. Dropped ties leave the table as it is, of fewer pairs."""
    tie = tie_probability(table, nu)
    return (1 - tie) * table + tie / 2


def with_context_effects(table: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Utility depends on what a response is shown beside: logit P[a, b] + C[a, b], C antisymmetric (..., Y, Y)."""
    return sigmoid(np.log(table) - np.log1p(-table) + effects)


def with_annotators(table: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Pairs judged each by one of K annotators, taken at random, whose rewards are off by biases (K, ..., Y)."""
    return sigmoid((np.log(table) - np.log1p(-table))[None] + margins(biases)).mean(0)


def tempered(log_base: np.ndarray, temperature: float) -> np.ndarray:
    """log μ for μ ∝ π₀^{1/T}."""
    return log_softmax(log_base / temperature)


def best_of_n_sampler(log_base: np.ndarray, reward: np.ndarray, n: float) -> np.ndarray:
    """log μ of best-of-n from the base by a reward without ties: F(y)ⁿ − F(y⁻)ⁿ, F the rank's distribution."""
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
    """Wins (X, Y, Y) in `pairs` i.i.d. comparisons: x uniform, a and b from μ(·|x), the winner from the table.

    A response met by itself says nothing and is not recorded, though it counts as a pair; so does a tie, which has
    the probability `tie` (X, Y, Y) if given.
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
    """What `draw_wins` gives per pair and context, on average: the population's table of wins (..., Y, Y).

    Each context's sums to the probability that a pair is of two different responses.
    """
    sampler = np.exp(log_sampler)
    wins = 2 * sampler[..., :, None] * sampler[..., None, :] * table
    diagonal = np.arange(wins.shape[-1])
    wins[..., diagonal, diagonal] = 0
    return wins

"""Moments of a tilt averaged over random splits and over the blocks of each level: all samples, halves, quarters."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from alignment_limits.limits.arrays import Array
from alignment_limits.limits.hermite import solve
from alignment_limits.limits.quarters import Quartered
from alignment_limits.limits.tilting import LEVELS, block_weights, by_level, moments_of

AT_ONCE = 4096  # prompts x lambdas whose moments stay in a cache


@dataclass(frozen=True)
class LevelMoments:
    """Moments (P, L, 3) at all three levels, or (P, L) at one; gains and slopes (P, L, V, 3) or (P, L, V).

    gains[:, :, 0] : of the optimized reward, as everywhere index 0. slopes : their d / d lambda. ess : (P, L), of all
    samples. share : (P,) each prompt's part in the KL (of `CorrectedCurve.moments` only).
    """

    kl: Array
    variance: Array
    reverse: Array
    mean: Array
    gains: Array
    slopes: Array
    ess: Array
    share: Array = field(default_factory=lambda: np.empty(0))


def level_moments(splits: Sequence[Quartered], inverse: Array, level: int | None = None) -> LevelMoments:
    """Averages at lambdas (L,), at every level or at one (0 all samples, 1 halves, 2 quarters)."""
    total: list[Array] | None = None
    ess = np.empty(0)
    for parts in splits:
        weights = block_weights(parts.sizes)
        m = moments_of(parts, inverse, level)
        gains = np.concatenate([m.reward[:, :, None], m.gain], axis=2)
        slopes = np.concatenate([m.variance[:, :, None], m.covariance], axis=2)
        arrays = [by_level(a, weights, level) for a in (m.kl, m.variance, m.log_mean_exp, m.reward, gains, slopes)]
        total = arrays if total is None else [a + b for a, b in zip(total, arrays, strict=True)]
        ess = m.ess
    assert total is not None
    kl, variance, reverse, mean, gains, slopes = (a / len(splits) for a in total)
    return LevelMoments(kl, variance, reverse, mean, gains, slopes, ess)


def spending(splits: Sequence[Quartered], inverse: Array) -> tuple[Array, Array]:
    """Mean over prompts of KL and of Var_w(r) at each level, (L, 3) each: what is needed to solve for lambda."""
    total = np.zeros((2, len(inverse), LEVELS))
    step = max(1, AT_ONCE // len(inverse))
    for parts in splits:
        bare = replace(parts, features=parts.features[..., :0])
        for start in range(0, len(parts.sizes), step):
            rows = bare.rows(start, start + step)
            m, weights = moments_of(rows, inverse), block_weights(rows.sizes)
            total += np.stack([by_level(a, weights).sum(axis=0) for a in (m.kl, m.variance)])
    kl, variance = total / (len(splits) * len(splits[0].sizes))
    return kl, variance


def solve_levels(splits: Sequence[Quartered], grid: Array, kappa: Array) -> Array:
    """Lambda (3, K) at which each level's mean KL is kappa (K,), by interpolation between nodes (L,); NaN beyond.

    Only nodes around a solution matter: where budgets are few, bisection finds them and looks at no others.
    """
    last = len(grid) - 1
    kl, variance = np.full((2, len(grid), LEVELS), np.nan)

    def look(nodes: np.ndarray) -> None:
        kl[nodes], variance[nodes] = spending(splits, grid[nodes])

    few = LEVELS * len(kappa) * np.log2(len(grid)) < len(grid)
    look(np.array([0, last]) if few else np.arange(len(grid)))
    low, high = np.zeros((LEVELS, len(kappa)), dtype=int), np.full((LEVELS, len(kappa)), last)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        unseen = np.unique(middle[np.isnan(kl[middle, 0])])
        if unseen.size:
            look(unseen)
        above = kl[middle, np.arange(LEVELS)[:, None]] > kappa
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    seen = ~np.isnan(kl[:, 0])
    at, kl, variance = grid[seen], kl[seen], variance[seen]
    return np.stack(
        [solve(at, kl[:, i], at * variance[:, i], kappa, start=float(variance[0, i])) for i in range(LEVELS)]
    )

"""The frontier of more scores than fit in memory: partial sums of shards, merged exactly.

A shard gives sums over its prompts, at a common grid of inverse temperatures, of what the frontier is made of
(gain, KL, log Z and their slopes, from all samples, halves and quarters) and of the products their variance needs.
Sums of shards add; nothing else is kept, so memory does not grow with prompts. With `keys` naming each prompt the
merged table does not depend on how prompts were dealt to shards, up to the rounding of sums.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, check_evaluated, check_scores, quarter
from alignment_limits.limits.bootstrap import normal_quantile
from alignment_limits.limits.curve import level_moments
from alignment_limits.limits.hermite import interpolate, solve
from alignment_limits.limits.levels import LEVELS, Correction, extrapolate
from alignment_limits.limits.tilting import check_betas

BLOCK = 256  # prompts estimated at once; more only spills the caches


@dataclass(frozen=True)
class FrontierSums:
    """Sums over `prompts` prompts at inverse temperatures (L,); index 0 of V is the optimized reward.

    gains, slopes : (L, V, 3) of gain and d gain / d lambda. kl, variance : (L, 3). products : (L, V, 6, 6), second
    moments of the levels' (gain, KL), from which the variance of any combination follows. ess : (L,).
    """

    names: tuple[str, ...]
    inverse: Array
    prompts: int
    gains: Array
    slopes: Array
    kl: Array
    variance: Array
    products: Array
    ess: Array

    def __add__(self, other: "FrontierSums") -> "FrontierSums":
        """Sums of both shards together."""
        if self.names != other.names or not np.array_equal(self.inverse, other.inverse):
            raise EstimateError("Partial sums of different rewards or beta grids cannot be merged.")
        return FrontierSums(
            self.names,
            self.inverse,
            self.prompts + other.prompts,
            self.gains + other.gains,
            self.slopes + other.slopes,
            self.kl + other.kl,
            self.variance + other.variance,
            self.products + other.products,
            self.ess + other.ess,
        )


@dataclass(frozen=True)
class MergedFrontier:
    """Corrected limits at K budgets: gain with a normal interval, plug-in gain, mean ESS; NaN beyond the grid."""

    kl: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    gain_plugin: Array
    ess: Array


def sum_shard(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike],
    *,
    betas: ArrayLike,
    keys: np.ndarray | None = None,
    seed: int = 0,
) -> FrontierSums:
    """Partial sums of one shard of prompts, (P, M) scores, at a grid of betas common to all shards.

    The grid must reach past the largest KL to be asked for; 40 or more betas over three decades serve well.
    keys : (P,) integers naming the prompts across all shards.
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    inverse = np.sort(1.0 / check_betas(betas))
    names = np.arange(len(scores)) if keys is None else np.asarray(keys)
    total: FrontierSums | None = None
    for start in range(0, len(scores), BLOCK):
        rows = slice(start, start + BLOCK)
        parts = quarter(scores[rows], [v[rows] for v in others.values()], keys=names[rows], seed=seed)
        m = level_moments([parts], inverse)
        both = np.concatenate([m.gains, np.broadcast_to(m.kl[:, :, None], m.gains.shape)], axis=-1)
        part = FrontierSums(
            ("optimized", *others),
            inverse,
            len(m.kl),
            m.gains.sum(axis=0),
            m.slopes.sum(axis=0),
            m.kl.sum(axis=0),
            m.variance.sum(axis=0),
            np.einsum("plva,plvb->lvab", both, both, optimize=True),
            m.ess.sum(axis=0),
        )
        total = part if total is None else total + part
    assert total is not None
    return total


def merge(shards: Iterable[FrontierSums]) -> FrontierSums:
    """Sums of all shards; any order."""
    total: FrontierSums | None = None
    for shard in shards:
        total = shard if total is None else total + shard
    if total is None:
        raise EstimateError("There are no shards to merge.")
    return total


def read_frontier(sums: FrontierSums, kls: ArrayLike, *, level: float = 0.95) -> dict[str, MergedFrontier]:
    """Corrected limits at average budgets `kls`, one table per evaluated reward.

    The same estimate as `frontier` with one split, read between grid points by Hermite interpolation; intervals are
    normal, from second moments at the two nearest grid points.
    """
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    n = sums.prompts
    kl, variance = sums.kl / n, sums.variance / n
    gains, slopes = sums.gains / n, sums.slopes / n
    rate = sums.inverse[:, None] * variance
    means = np.empty((LEVELS, len(kappa), gains.shape[1]))
    at = np.empty((LEVELS, len(kappa)))
    for i in range(LEVELS):
        at[i] = solve(sums.inverse, kl[:, i], rate[:, i], kappa, start=float(variance[0, i]))
        curve = interpolate(
            kl[:, i][None, None], rate[:, i][None, None], gains[..., i].T[None, :, None], slopes[...,
            i].T[None, :, None], kappa[None],
        )  # fmt: skip
        means[i] = np.where(np.isfinite(at[i])[:, None], curve[0, :, 0].T, np.nan)
    values, shared = extrapolate(means[:, None])
    z = normal_quantile(level)
    ess = np.interp(at[0], sums.inverse, sums.ess / n)
    tables = {}
    for v, name in enumerate(sums.names[1:], start=1):
        error = np.sqrt(_variance(sums, v, at[0], shared) / max(n - 1, 1))
        gain = values[0, :, v]
        tables[name] = MergedFrontier(kappa, gain, gain - z * error, gain + z * error, means[0, :, v], ess)
    return tables


def _variance(sums: FrontierSums, v: int, inverse: Array, correction: Correction) -> Array:
    """Variance over prompts of the corrected contributions at `inverse` (K,), between the two nearest nodes.

    Contributions are G - s KL at each level (curve.py), combined as F + p (F - H) + q (H - Q). Halves and quarters
    are read at the full samples' lambda, the only one whose products are kept together: intervals err on the wide
    side, by 0-10% for like prompts (measured) and up to 40% for prompts of very different spreads and few samples.
    """
    n = sums.prompts
    rate = sums.inverse[:, None] * sums.variance / n
    slope = np.where(rate > 0, sums.slopes[:, v] / n / np.where(rate > 0, rate, 1.0), 0.0)  # (L, 3)
    p, q = correction.factor - correction.ratio * correction.slope, correction.slope
    shares = np.stack([1 + p, q - p, -q], axis=-1)  # (K, 3)
    upper = np.clip(np.searchsorted(sums.inverse, inverse), 1, len(sums.inverse) - 1)
    out = []
    for node in (upper - 1, upper):
        weights = np.concatenate([shares, -shares * slope[node]], axis=-1)  # (K, 6) on (gains, KLs)
        mean = np.concatenate([sums.gains[node, v], sums.kl[node]], axis=-1) / n
        second = np.einsum("ka,kab,kb->k", weights, sums.products[node, v] / n, weights)
        out.append(np.maximum(second - np.sum(weights * mean, axis=-1) ** 2, 0.0))
    low, high = sums.inverse[upper - 1], sums.inverse[upper]
    share = np.clip((inverse - low) / (high - low), 0.0, 1.0)
    return np.asarray(out[0] * (1 - share) + out[1] * share)

"""Cubic Hermite interpolation in s = sqrt(KL), in which a limit is nearly straight near the origin."""

import numpy as np

from alignment_limits.limits.arrays import Array


def _basis(t: Array) -> tuple[Array, Array, Array, Array]:
    return 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3, t**3 - t**2


def solve(inverse: Array, kl: Array, rate: Array, kappa: Array, *, start: float) -> Array:
    """Invert one increasing curve: lambda at which KL = kappa, NaN beyond the last node.

    inverse, kl, rate : (L,) nodes lambda > 0, KL and dKL/dlambda. start : Var(r) at lambda = 0, where
    KL = Var lambda^2 / 2. kappa : (K,). Interpolates lambda as a function of s = sqrt(KL), dlambda/ds = 2 s
    / rate.
    """
    s = np.sqrt(np.maximum(kl, 0.0))
    # A saturated tail has no slope left; nodes must rise to be inverted.
    rises = np.concatenate([[s[0] > 0], np.diff(s) > 1e-9 * max(s[-1], 1e-300)]) & (rate > 0)
    rises &= np.logical_and.accumulate(rises)
    if not rises.any() or start <= 0:
        return np.where(kappa > 0, np.nan, 0.0)
    x = np.concatenate([[0.0], s[rises]])
    y = np.concatenate([[0.0], inverse[rises]])
    dy = np.concatenate([[np.sqrt(2.0 / start)], 2.0 * s[rises] / rate[rises]])
    target = np.sqrt(kappa)
    j = np.clip(np.searchsorted(x, target, side="right") - 1, 0, len(x) - 2)
    width = x[j + 1] - x[j]
    t = (target - x[j]) / width
    # Fritsch-Carlson limit: keeps the interpolant monotone where the curve bends sharply near saturation.
    secant = (y[j + 1] - y[j]) / width
    h00, h10, h01, h11 = _basis(t)
    value = h00 * y[j] + h10 * width * np.minimum(dy[j], 3 * secant)
    value += h01 * y[j + 1] + h11 * width * np.minimum(dy[j + 1], 3 * secant)
    return np.where(target <= x[-1], np.maximum(value, 1e-12), np.nan)


def interpolate(kl: Array, rate: Array, values: Array, rates: Array, kappa: Array) -> Array:
    """Read curves X(lambda) at KL = kappa, block by block; beyond a block's last node, its last value.

    kl, rate : (P, B, L) KL and dKL/dlambda. values, rates : (P, V, B, L) X and dX/dlambda. kappa : (P, K).
    Returns (P, V, B, K). X is interpolated as a function of s, dX/ds = 2 s dX/dKL; at the origin X = 0.
    """
    s = np.sqrt(np.maximum(kl, 0.0))
    s = np.maximum.accumulate(s, axis=-1)
    # On a saturated tail both rates are rounding errors: the curve is flat there.
    alive = rate > 1e-9 * np.maximum(rate.max(axis=-1, keepdims=True), 1e-290)
    slope = np.where(alive[:, None], 2.0 * s[:, None] * rates / np.where(alive, rate, 1.0)[:, None], 0.0)
    origin = slope[..., :1]  # the curve starts straight: its first slope serves at 0
    x = np.concatenate([np.zeros_like(s[..., :1]), s], axis=-1)
    y = np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)
    dy = np.concatenate([origin, slope], axis=-1)
    target = np.sqrt(kappa)[:, None, :]
    last = x.shape[-1] - 1
    j = np.clip(np.sum(x[..., :, None] <= target[..., None, :], axis=2) - 1, 0, last - 1)  # (P, B, K)
    x0, x1 = np.take_along_axis(x, j, axis=-1), np.take_along_axis(x, j + 1, axis=-1)
    width = np.where(x1 > x0, x1 - x0, 1.0)
    t = np.clip((np.broadcast_to(target, j.shape) - x0) / width, 0.0, 1.0)[:, None]
    width = width[:, None]
    jj = np.broadcast_to(j[:, None], (*y.shape[:3], j.shape[-1]))
    h00, h10, h01, h11 = _basis(t)
    out = h00 * np.take_along_axis(y, jj, -1) + h10 * width * np.take_along_axis(dy, jj, -1)
    return np.asarray(out + h01 * np.take_along_axis(y, jj + 1, -1) + h11 * width * np.take_along_axis(dy, jj + 1, -1))

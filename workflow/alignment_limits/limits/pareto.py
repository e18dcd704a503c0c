"""Pareto k-hat of the tilt's weights, for many prompts and temperatures at once (PSIS, arXiv 1507.02646)."""

import numpy as np

from alignment_limits.limits.arrays import Array

SMALLEST_TAIL = 5


def pareto_k(rewards: Array, inverse: Array) -> Array:
    """Shape k-hat of the generalised Pareto tail of exp(lambda r), one per prompt and lambda.

    Parameters
    ----------
    rewards : (P, M), NaN = no such sample. inverse : lambda = 1/beta, (L,) or (P, L).

    Returns
    -------
    (P, L): as in PSIS, from the largest min(0.2 m, 3 sqrt m) weights, with its weak prior (k n + 5)/(n + 10).
    NaN where there is no tail to fit: fewer than 5 values above the cut, or all of them equal (ties at the
    top).
    """
    prompts = len(rewards)
    lam = np.broadcast_to(inverse, (prompts, np.shape(inverse)[-1]))
    counts = np.sum(~np.isnan(rewards), axis=1)
    out = np.full(lam.shape, np.nan)
    for m in np.unique(counts):
        tail = int(min(0.2 * m, 3.0 * np.sqrt(m)))
        if tail < SMALLEST_TAIL:
            continue
        rows = np.flatnonzero(counts == m)
        ordered = np.sort(rewards[rows], axis=1)[:, :m]  # NaN sort last
        for start in range(0, len(rows), 32):
            part = slice(start, start + 32)
            out[rows[part]] = _tail_shape(ordered[part, m - tail - 1 :], lam[rows[part]])
    return out


def _tail_shape(top: Array, lam: Array) -> Array:
    """k-hat from the ascending top values (p, T + 1), the first of which is the cut; lam (p, L)."""
    tail = top[:, 1:] - top[:, -1:]
    # Excess weights relative to the largest, zero where tied with the cut.
    excess = np.exp(lam[:, :, None] * tail[:, None, :]) - np.exp(lam * (top[:, :1] - top[:, -1:]))[:, :, None]
    n = np.sum(top[:, 1:] > top[:, :1], axis=1)
    usable = (n >= SMALLEST_TAIL) & (top[:, -1] > top[np.arange(len(top)), -np.minimum(n, top.shape[1] - 1)])
    out = np.full(lam.shape, np.nan)
    for count in np.unique(n[usable]):
        rows = np.flatnonzero(usable & (n == count))
        out[rows] = _zhang_stephens(excess[rows][:, :, excess.shape[2] - count :])
    return out


def _zhang_stephens(x: Array) -> Array:
    """Zhang & Stephens (2009) posterior-mean shape of ascending positive excesses (..., n)."""
    n = x.shape[-1]
    grid = 30 + int(np.sqrt(n))
    quartile = x[..., int(n / 4 + 0.5) - 1]
    b = 1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        b = b / (3.0 * quartile[..., None]) + 1.0 / x[..., -1:]
        k = np.mean(np.log1p(-b[..., :, None] * x[..., None, :]), axis=-1)
        likelihood = n * (np.log(-(b / k)) - k - 1.0)
        weights = 1.0 / np.exp(likelihood[..., None, :] - likelihood[..., :, None]).sum(axis=-1)
        keep = weights >= 10 * np.finfo(np.float64).eps
        weights = np.where(keep, weights, 0.0)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        best = np.sum(np.where(keep, b, 0.0) * weights, axis=-1)
        shape = np.mean(np.log1p(-best[..., None] * x), axis=-1)
    return np.asarray((n * shape + 5.0) / (n + 10.0))

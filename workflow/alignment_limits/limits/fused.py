"""The tilt's sums in one pass over the samples, compiled by Numba: several times faster than NumPy's many passes.

Optional: without Numba (or where its cache cannot be written) tilting.py falls back on NumPy and agrees to 1e-13.
The exponential is written out so that it vectorises: NumPy's own cannot be fused with the sums that use it.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types  # type: ignore[import-untyped]
from numba.extending import intrinsic  # type: ignore[import-untyped]

# Rounds to the nearest integer when added and taken away again; the integer stands in the low bits of the sum.
_ROUND = 6755399441055744.0
# No reassociation here: it would cancel the rounding constant.
_STRICT = {"contract", "nnan", "ninf", "nsz"}


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    """The 64 bits of a float as an integer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _float(typingctx: Any, x: Any) -> Any:
    """An integer's 64 bits as a float."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@njit(fastmath=_STRICT, error_model="numpy", cache=True)
def _exponentials(x: Any, lam: float, out: Any) -> None:  # pragma: no cover - compiled
    """out = exp(lam x) for lam x <= 0, to an ulp or two: 2^k times a Taylor polynomial on |f| <= log(2)/2."""
    for i in range(x.size):
        y = max(lam * x[i], -700.0)
        t = y * 1.4426950408889634 + _ROUND
        k = t - _ROUND
        f = (y - k * 0.6931471803691238) - k * 1.9082149292705877e-10
        p = 1.0 / 479001600.0
        p = p * f + 1.0 / 39916800.0
        p = p * f + 1.0 / 3628800.0
        p = p * f + 1.0 / 362880.0
        p = p * f + 1.0 / 40320.0
        p = p * f + 1.0 / 5040.0
        p = p * f + 1.0 / 720.0
        p = p * f + 1.0 / 120.0
        p = p * f + 1.0 / 24.0
        p = p * f + 1.0 / 6.0
        p = p * f + 0.5
        p = p * f + 1.0
        p = p * f + 1.0
        out[i] = p * _float((_bits(t) + 1023) << 52)


@njit(fastmath=True, error_model="numpy", cache=True)
def _reward_sums(e: Any, r: Any) -> Any:  # pragma: no cover - compiled
    total, first, second, square = 0.0, 0.0, 0.0, 0.0
    for i in range(e.size):
        weighted = e[i] * r[i]
        total += e[i]
        first += weighted
        second += weighted * r[i]
        square += e[i] * e[i]
    return total, first, second, square


@njit(fastmath=True, error_model="numpy", cache=True)
def _feature_sums(e: Any, r: Any, v: Any) -> Any:  # pragma: no cover - compiled
    first, cross = 0.0, 0.0
    for i in range(e.size):
        weighted = e[i] * v[i]
        first += weighted
        cross += weighted * r[i]
    return first, cross


@njit(error_model="numpy", cache=True)
def _sums(
    rewards: Any, tops: Any, features: Any, sizes: Any, inverse: Any, sums: Any, squares: Any
) -> None:  # pragma: no cover - compiled
    room = rewards.shape[2]
    below, buffer = np.empty(room), np.empty(room)
    for p in range(rewards.shape[0]):
        for b in range(rewards.shape[1]):
            size = sizes[p, b]
            x, r, e = below[:size], rewards[p, b, :size], buffer[:size]
            for i in range(size):
                x[i] = r[i] - tops[p, b]
            for j in range(inverse.shape[1]):
                _exponentials(x, inverse[p, j], e)
                total, first, second, square = _reward_sums(e, r)
                sums[0, b, p, j], sums[1, b, p, j], sums[2, b, p, j] = total, first, second
                squares[b, p, j] = square
                for v in range(features.shape[1]):
                    one, cross = _feature_sums(e, r, features[p, v, b, :size])
                    sums[3 + 2 * v, b, p, j], sums[4 + 2 * v, b, p, j] = one, cross


def fused_sums(
    rewards: np.ndarray, tops: np.ndarray, features: np.ndarray, sizes: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums (3 + 2 V, B, P, L) and squared weights (B, P, L) of exp(inverse * (rewards - top)), block by block.

    rewards : (P, B, Q), real samples first. tops : (P, B) their largest. features : (P, B, Q, V). sizes : (P, B).
    inverse : (P, L).
    """
    blocks = (rewards.shape[1], len(rewards), inverse.shape[1])
    sums, squares = np.zeros((3 + 2 * features.shape[3], *blocks)), np.zeros(blocks)
    carried = np.ascontiguousarray(np.moveaxis(features, -1, 1))
    _sums(rewards, tops, carried, sizes.astype(np.int64), inverse, sums, squares)
    return sums, squares

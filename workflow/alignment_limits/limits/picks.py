"""Soft best-of-n's probabilities, compiled by Numba (optional). They agree with `relatives.plain_picks` to 1e-12."""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]

from alignment_limits.ensembles.scores import Array
from alignment_limits.limits.streaming.kernels import _exponentials


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy", cache=True)
def _picks(
    scores: Any, counts: Any, ns: Any, starts: Any, step: float, sizes: Any, cap: float, out: Any
) -> None:  # pragma: no cover - compiled
    width, bits = scores.shape[1], 1
    while 2**bits < ns[-1]:
        bits += 1
    x, rate, squares = np.empty(width), np.empty(width), np.empty((bits, width))
    for p in range(scores.shape[0]):
        m = counts[p]
        z, r, below, share = x[:m], rate[:m], squares[0, :m], 1.0 / max(m - 1, 1)
        for g in range(sizes[p]):
            y = starts[p] + step * g
            for i in range(m):
                z[i] = min(scores[p, i] - y, cap)
            _exponentials(z, 1.0, r)
            _exponentials(r, -1.0, below)
            total = 0.0
            for i in range(m):
                total += below[i]
                r[i] *= below[i]  # the density of the noisy score
            for i in range(m):
                below[i] = max(total - below[i], 0.0) * share
            done, known = 1, 1
            for j in range(ns.size):
                left, bit = ns[j] - done, 0
                while left > 0:
                    if bit == known:
                        for i in range(m):
                            squares[bit, i] = squares[bit - 1, i] * squares[bit - 1, i]
                        known += 1
                    if left & 1:
                        for i in range(m):
                            r[i] *= squares[bit, i]
                    left >>= 1
                    bit += 1
                done = ns[j]
                for i in range(m):
                    out[p, j, i] += r[i]
        for j in range(ns.size):
            total = out[p, j, :m].sum()
            for i in range(m):
                out[p, j, i] = out[p, j, i] / total if ns[j] <= m else np.nan


def fused_picks(
    scores: Array, counts: np.ndarray, ns: np.ndarray, starts: Array, sizes: np.ndarray, *, step: float, cap: float
) -> Array:
    """Probabilities of each sample (P, M, N).

    Args:
        scores: less the best of each prompt (P, M), real samples first.
        counts: (P,) of them.
        ns: rising numbers of draws (N,).
        starts, sizes: first value and length of each prompt's grid (P,).
        step: of the grid.
        cap: largest exponent.
    """
    out = np.zeros((len(scores), len(ns), scores.shape[1]))
    _picks(scores, counts, ns.astype(np.int64), starts, step, sizes, cap, out)
    return np.ascontiguousarray(out.transpose(0, 2, 1))

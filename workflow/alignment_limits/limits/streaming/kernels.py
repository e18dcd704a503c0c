"""The tilt's sums and the streamed terms in one pass over the samples, compiled by Numba (optional).

Without Numba (or if its cache cannot be written) `tilt` and `terms` use NumPy, which is several times slower. Results
agree to 1e-13 and 1e-12. The exponential is written out so that it vectorises; NumPy's own cannot be fused with the
sums. `add` gives exactly the same results as terms.add.

Three things make the streamed terms several times faster. Ranks come from NumPy's vectorised sort. Quarters are cut at
three order statistics of the seeded draws. Where the grid of inverse temperatures doubles, e^{2 lambda x} is the
square of e^{lambda x}. Each prompt is summed separately, in the order of its scores, so its terms do not depend on
other prompts.
"""

from functools import lru_cache
from math import frexp, log
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types  # type: ignore[import-untyped]
from numba.extending import intrinsic  # type: ignore[import-untyped]

from alignment_limits.ensembles import scores
from alignment_limits.ensembles.scores import QUARTERS, Array
from alignment_limits.limits.streaming.terms import BITS, LOWEST, PER_UNIT, PLACES, UNITS, check

# Adding and subtracting it rounds to the nearest integer; the integer is in the low bits of the sum.
_ROUND = 6755399441055744.0
# No reassociation: it would cancel the rounding constant.
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
    rewards: Any, tops: Any, features: Any, sizes: Any, weights: Any, inverse: Any, sums: Any, squares: Any
) -> None:  # pragma: no cover - compiled
    room = rewards.shape[2]
    below, buffer = np.empty(room), np.empty(room)
    weighted = weights.size > 0
    for p in range(rewards.shape[0]):
        for b in range(rewards.shape[1]):
            size = room if weighted else sizes[p, b]
            x, r, e = below[:size], rewards[p, b, :size], buffer[:size]
            for i in range(size):
                x[i] = min(r[i] - tops[p, b], 0.0)
            for j in range(inverse.shape[1]):
                _exponentials(x, inverse[p, j], e)
                if weighted:
                    w = weights[p, b]
                    for i in range(size):
                        e[i] *= w[i]
                total, first, second, square = _reward_sums(e, r)
                sums[0, b, p, j], sums[1, b, p, j], sums[2, b, p, j] = total, first, second
                squares[b, p, j] = square
                for v in range(features.shape[1]):
                    one, cross = _feature_sums(e, r, features[p, v, b, :size])
                    sums[3 + 2 * v, b, p, j], sums[4 + 2 * v, b, p, j] = one, cross


def fused_sums(
    rewards: np.ndarray,
    tops: np.ndarray,
    features: np.ndarray,
    sizes: np.ndarray,
    inverse: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of weight · exp(inverse · (rewards − top)), block by block, and of squared summands.

    Args:
        rewards: (P, B, Q), real samples first unless there are weights.
        tops: their largest (P, B).
        features: (P, B, Q, V).
        sizes: (P, B).
        inverse: (P, L).
        weights: of pooled samples (P, B, Q), 0 in the padding; default: 1.

    Returns:
        Sums (3 + 2 V, B, P, L) and squared weights (B, P, L).
    """
    blocks = (rewards.shape[1], len(rewards), inverse.shape[1])
    sums, squares = np.zeros((3 + 2 * features.shape[3], *blocks)), np.zeros(blocks)
    carried = np.ascontiguousarray(np.moveaxis(features, -1, 1))
    given = np.empty((0, 0, 0)) if weights is None else weights
    inverse = np.require(inverse, requirements="W")  # Numba compiles once more for arrays that are read-only
    _sums(rewards, tops, carried, sizes.astype(np.int64), given, inverse, sums, squares)
    return sums, squares


@njit(nogil=True, cache=True)
def _add(terms: Any, groups: Any, sums: Any) -> None:  # pragma: no cover - compiled
    for p in range(terms.shape[0]):
        for i in range(terms.shape[1]):
            rest = terms[p, i]
            place = min((frexp(rest)[1] - 1 + LOWEST) // BITS, PLACES - 1)
            while rest != 0.0 and place >= 0:
                piece = np.int64(rest * PER_UNIT[place])  # towards 0
                rest -= piece * UNITS[place]
                sums[groups[p], place, i] += piece
                place -= 1


def add(terms: Array, groups: np.ndarray, sums: np.ndarray) -> None:
    """See exact_sums.add."""
    check(terms)
    _add(terms, groups, sums)


LANES = 32  # quarters are padded to multiples of the vector length

_splitmix = njit(scores.splitmix)


@njit(nogil=True, cache=True)
def _draw(counts: Any, keys: Any, seed: Any, draws: Any) -> None:  # pragma: no cover - compiled
    """The seeded draws behind arrays.split_labels: rank j of a prompt with each key; largest in the padding."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    for p in range(draws.shape[0]):
        row = _splitmix(keys[p] * golden + seed + golden)
        for j in range(draws.shape[1]):
            draws[p, j] = _splitmix(row + golden * np.uint64(j + 1))
        draws[p, counts[p] :] = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(fastmath=True, error_model="numpy", nogil=True, cache=True)
def _square_and_sum(e: Any, x: Any, square: bool) -> Any:  # pragma: no cover - compiled
    total, first, second = 0.0, 0.0, 0.0
    if square:
        for i in range(e.size):
            weight = e[i] * e[i]
            e[i] = weight
            total += weight
            first += weight * x[i]
            second += weight * x[i] * x[i]
    else:
        for i in range(e.size):
            total += e[i]
            first += e[i] * x[i]
            second += e[i] * x[i] * x[i]
    return total, first, second


@njit(fastmath=True, error_model="numpy", nogil=True, cache=True)
def _carried_sums(e: Any, x: Any, v: Any) -> Any:  # pragma: no cover - compiled
    first, cross = 0.0, 0.0
    for i in range(e.size):
        weighted = e[i] * v[i]
        first += weighted
        cross += weighted * x[i]
    return first, cross


@njit(error_model="numpy", nogil=True, cache=True)
def _centred_mean(v: Any, order: Any, size: int) -> float:  # pragma: no cover - compiled
    """Mean in the order of scores; exactly the common value where all are equal."""
    total, low, high = 0.0, v[order[0]], v[order[0]]
    for i in range(size):
        value = v[order[i]]
        total += value
        low, high = min(low, value), max(high, value)
    return min(max(total / size, low), high)


@njit(error_model="numpy", nogil=True, cache=True)
def _add_level(
    s: Any, size: int, top: float, share: float, offset: float, inverse: Any, level: int, out: Any
) -> None:  # pragma: no cover - compiled
    """Add one block's KL, gains and slopes, weighted by its share, to its level's terms (L, 3 + 6 V)."""
    rewards = (out.shape[1] - 3) // 6
    log_size = log(size)
    for j in range(inverse.size):
        total = s[0, j]
        below = s[1, j] / total
        log_mean_exp = log(total) + inverse[j] * top - log_size
        out[j, level] += share * max(inverse[j] * below - log_mean_exp, 0.0)
        out[j, 3 + level] += share * (below + offset)
        out[j, 6 + level] += share * max(s[2, j] / total - below * below, 0.0)
        for v in range(1, rewards):
            gain = s[1 + 2 * v, j] / total
            out[j, 3 + 6 * v + level] += share * gain
            out[j, 6 + 6 * v + level] += share * (s[2 + 2 * v, j] / total - gain * below)


@njit(error_model="numpy", nogil=True, cache=True)
def _join(
    a: Any, b: Any, sizes: Any, tops: Any, inverse: Any, buffer: Any, out: Any
) -> Any:  # pragma: no cover - compiled
    """Sums of two blocks on their common shift; an empty one adds nothing."""
    top = max(tops[0], tops[1])
    out[:, :] = 0.0
    for i in range(2):
        if sizes[i] > 0:
            s = a if i == 0 else b
            buffer[:] = tops[i] - top
            _scale(buffer, inverse)
            for f in range(s.shape[0]):
                for j in range(inverse.size):
                    out[f, j] += s[f, j] * buffer[j]
    return top


@njit(error_model="numpy", nogil=True, cache=True)
def _scale(x: Any, inverse: Any) -> None:  # pragma: no cover - compiled
    """x = exp(inverse x), in place."""
    for j in range(inverse.size):
        x[j] = max(inverse[j] * x[j], -700.0)
    _exponentials(x, 1.0, x)


@njit(error_model="numpy", nogil=True, cache=True)
def _terms(
    rewards: Any, carried: Any, order: Any, counts: Any, draws: Any, cuts: Any, inverse: Any, turn: Any, squared: Any,
    out: Any,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    width = rewards.shape[1] + LANES
    nodes, others = inverse.size, carried.shape[0]
    x, e = np.empty((4, width)), np.empty(width)
    v = np.empty((others, 4, width))
    sums = np.empty((4, 3 + 2 * others, nodes))
    halves = np.empty((2, 3 + 2 * others, nodes))
    whole = np.empty((3 + 2 * others, nodes))
    buffer = np.empty(nodes)
    means = np.empty(others)
    sizes, tops = np.empty(4, dtype=np.int64), np.empty(4)
    pair, peaks = np.empty(2, dtype=np.int64), np.empty(2)
    for p in range(rewards.shape[0]):
        m = counts[p]
        r, rank = rewards[p], order[p]
        best = r[rank[m - 1]]
        offset = best - _centred_mean(r, rank, m)
        for k in range(others):
            means[k] = _centred_mean(carried[k, p], rank, m)
        sizes[:] = 0
        for i in range(m):
            draw = draws[p, i]
            q = int(draw >= cuts[p, 0]) + int(draw >= cuts[p, 1]) + int(draw >= cuts[p, 2])
            n = sizes[q]
            x[q, n] = r[rank[i]] - best
            for k in range(others):
                v[k, q, n] = carried[k, p, rank[i]] - means[k]
            sizes[q] = n + 1
        out[p] = 0.0
        for q in range(4):
            n = sizes[q]
            if n == 0:
                tops[q] = -np.inf
                continue
            tops[q] = x[q, n - 1]
            padded = -(-n // LANES) * LANES
            x[q, n:padded] = 0.0
            for k in range(others):
                v[k, q, n:padded] = 0.0
            for j in turn:
                if not squared[j]:
                    for i in range(n):
                        e[i] = x[q, i] - tops[q]
                    _exponentials(e[:n], inverse[j], e[:n])
                    e[n:padded] = 0.0
                total, first, second = _square_and_sum(e[:padded], x[q, :padded], squared[j])
                sums[q, 0, j], sums[q, 1, j], sums[q, 2, j] = total, first, second
                for k in range(others):
                    one, cross = _carried_sums(e[:padded], x[q, :padded], v[k, q, :padded])
                    sums[q, 3 + 2 * k, j], sums[q, 4 + 2 * k, j] = one, cross
            _add_level(sums[q], n, tops[q], n / m, offset, inverse, 2, out[p])
        for h in range(2):
            pair[h] = sizes[2 * h] + sizes[2 * h + 1]
            peaks[h] = -np.inf
            if pair[h] > 0:
                two = slice(2 * h, 2 * h + 2)
                peaks[h] = _join(sums[2 * h], sums[2 * h + 1], sizes[two], tops[two], inverse, buffer, halves[h])
                _add_level(halves[h], pair[h], peaks[h], pair[h] / m, offset, inverse, 1, out[p])
        peak = _join(halves[0], halves[1], pair, peaks, inverse, buffer, whole)
        _add_level(whole, m, peak, 1.0, offset, inverse, 0, out[p])


@njit(nogil=True, cache=True)
def _tied(rewards: Any, order: Any, counts: Any, out: Any) -> None:  # pragma: no cover - compiled
    for p in range(rewards.shape[0]):
        for i in range(1, counts[p]):
            out[p] |= rewards[p, order[p, i]] == rewards[p, order[p, i - 1]]


def tied_rows(rewards: Array, order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows (P,) of (P, M) scores that contain a score twice, given their samples by rank."""
    out = np.zeros(len(rewards), dtype=np.bool_)
    _tied(rewards, order, counts, out)
    return out


@lru_cache(maxsize=4)
def _turns(grid: bytes) -> tuple[np.ndarray, np.ndarray]:
    return doubling_turns(np.frombuffer(grid, dtype=np.float64))


def doubling_turns(inverse: Array) -> tuple[np.ndarray, np.ndarray]:
    """An order of the nodes in which each double follows its half, and which nodes are such doubles."""
    turn: list[int] = []
    squared = np.zeros(len(inverse), dtype=np.bool_)
    place = {value: j for j, value in enumerate(inverse.tolist())}
    for value in place:
        if value / 2 in place:
            continue  # it comes after its half
        while value in place:
            squared[place[value]] = value / 2 in place
            turn.append(place[value])
            value *= 2
    return np.array(turn), squared


def fused_terms(
    rewards: Array, carried: Array, order: np.ndarray, counts: np.ndarray, keys: np.ndarray, seed: int, inverse: Array
) -> Array:
    """Terms of P prompts; see `terms.prompt_terms`.

    Args:
        rewards: (P, M), padded after counts (P,).
        carried: (V, P, M).
        order: samples by rank (P, M).
        keys: (P,).
        seed: of the split.
        inverse: (L,).

    Returns:
        (P, L, 3 + 6 V'), V' = 1 + V rewards.
    """
    draws = np.empty(rewards.shape, dtype=np.uint64)
    _draw(counts, keys.astype(np.uint64), np.uint64(seed % 2**63), draws)
    ordered = np.sort(draws, axis=1)
    first = -(-counts[:, None] * np.arange(1, QUARTERS) // QUARTERS)  # start of each later quarter
    cuts = np.take_along_axis(ordered, np.minimum(first, rewards.shape[1] - 1), axis=1)
    cuts[first >= counts[:, None]] = np.iinfo(np.uint64).max
    out = np.empty((len(rewards), len(inverse), 3 + 6 * (1 + len(carried))))
    _terms(rewards, carried, order, counts, draws, cuts, inverse, *_turns(inverse.tobytes()), out)
    return out

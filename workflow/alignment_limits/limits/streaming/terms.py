"""The terms of each prompt in the streamed frontier, and sums of floats without rounding.

Sums do not depend on order and grouping. A float is cut at fixed places into integers of 32 bits, in units of 2^-192,
2^-160, ..., 2^160. Each place is summed in int64, which is exact for 2^31 terms (the long accumulator of Kulisch 1981,
shortened). Merging two sums adds their integers. The part of a term below 2^-192 = 1.6e-58 is cut off, for each term
separately.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import EstimateError
from alignment_limits.limits.correction import level_moments
from alignment_limits.limits.samples import quarter

PLACES, BITS, LOWEST = 12, 32, 192
UNITS = 2.0 ** (BITS * np.arange(PLACES) - LOWEST)
PER_UNIT = 1.0 / UNITS
LARGEST = 2.0 ** (BITS * PLACES - LOWEST)


def zeros(groups: int, cells: int) -> np.ndarray:
    """Empty sums: (groups, PLACES, cells) int64."""
    return np.zeros((groups, PLACES, cells), dtype=np.int64)


def add(terms: Array, groups: np.ndarray, sums: np.ndarray) -> None:
    """Add each row of terms to the sums of its group, in place.

    Args:
        terms: (P, N).
        groups: (P,).
        sums: (G, PLACES, N).

    Raises:
        EstimateError: a term is not finite, or is at least 2^192 = 6e57.
    """
    check(terms)
    rest = terms.copy()
    for place in reversed(range(PLACES)):
        pieces = np.trunc(rest * PER_UNIT[place])
        rest -= pieces * UNITS[place]
        np.add.at(sums[:, place], groups, pieces.astype(np.int64))


def check(terms: Array) -> None:
    """Refuse terms that cannot be summed.

    Raises:
        EstimateError: a term is not finite or too large.
    """
    if not np.all(np.abs(terms) < LARGEST):
        raise EstimateError(
            f"Scores are too large to be summed: their gains or variances are above {LARGEST:.0e}. Rescale them."
        )


def value(sums: np.ndarray) -> Array:
    """The sums as floats, (..., PLACES, N) -> (..., N), to two units in the last place."""
    used = np.flatnonzero(np.any(sums, axis=(*range(sums.ndim - 2), -1)))
    places = slice(used[0], used[-1] + 2) if len(used) else slice(0, 1)  # one more for the carry
    digits = _carried(sums[..., places, :])
    negative = digits[..., -1:, :] < 0
    digits = _carried(np.where(negative, -digits, digits))  # no digit is negative now, so nothing cancels below
    total = np.zeros_like(digits[..., 0, :], dtype=np.float64)
    for place, unit in enumerate(UNITS[places]):
        total += digits[..., place, :] * unit
    return np.where(negative[..., 0, :], -total, total)


def _carried(digits: np.ndarray) -> np.ndarray:
    """The same numbers with every place but the highest in [0, 2^32)."""
    digits = digits.copy()
    for place in range(digits.shape[-2] - 1):
        carry = digits[..., place, :] >> BITS
        digits[..., place, :] -= carry << BITS
        digits[..., place + 1, :] += carry
    return digits


BLOCK = 64  # prompts at once; more do not fit in the cache
CELLS = 1 << 18  # samples at once


def compiled() -> ModuleType | None:
    """The compiled kernels, or None without Numba (or if its cache cannot be written)."""
    try:
        return import_module("alignment_limits.limits.streaming.kernels")
    except (ImportError, RuntimeError):
        return None


def prompt_terms(
    columns: list[Array], counts: np.ndarray, keys: np.ndarray, seed: int, inverse: Array, fused: ModuleType | None
) -> Array:
    """KL, gains and slopes of each prompt at all samples, halves and quarters.

    Args:
        columns: V arrays (P, M), the optimized reward first, NaN after each prompt's samples.
        counts: samples of each prompt (P,).
        keys: name the prompts in the seeded split (P,).
        seed: of the split.
        inverse: (L,).
        fused: compiled kernels, if there are any.

    Returns:
        (P, L, 3 + 6 V): KL (3), then for each reward its gain (3) and its dgain/dλ (3).
    """
    if fused is None:
        return plain_terms(columns, keys, seed, inverse)
    rewards = columns[0]
    order = np.argsort(rewards, axis=1)  # NaN last
    if len(columns) > 1:
        tied = fused.tied_rows(rewards, order, counts)
        if tied.any():  # ordered by the evaluated rewards, as in samples.deal
            order[tied] = np.lexsort([c[tied] for c in reversed(columns)], axis=1)
    carried = np.stack(columns[1:]) if len(columns) > 1 else np.empty((0, *rewards.shape))
    terms: Array = fused.fused_terms(rewards, carried, order, counts, keys, seed, inverse)
    return terms


def plain_terms(columns: list[Array], keys: np.ndarray, seed: int, inverse: Array) -> Array:
    """The same terms by NumPy."""
    m = level_moments([quarter(columns[0], columns[1:], keys=keys, seed=seed)], inverse)
    pairs = np.stack([m.gains, m.slopes], axis=3)  # (P, L, V, 2, 3)
    return np.concatenate([m.kl, pairs.reshape(*m.kl.shape[:2], -1)], axis=-1)


def adder(fused: ModuleType | None) -> Callable[[Array, np.ndarray, np.ndarray], None]:
    """The exact addition, compiled if possible."""
    return add if fused is None else import_module("alignment_limits.limits.streaming.kernels").add


def blocks(counts: np.ndarray, *, alike: bool) -> list[np.ndarray]:
    """Prompts in blocks of similar sample counts, with little padding and no large block.

    Args:
        counts: (P,).
        alike: no padding, so that a prompt's terms do not depend on its neighbours (NumPy's sums do).

    Returns:
        Row numbers of each block.
    """
    order = np.argsort(counts, kind="stable")
    out, start = [], 0
    while start < len(order):
        stop = min(start + BLOCK, len(order))
        if alike:
            stop = start + int(np.searchsorted(counts[order[start:stop]], counts[order[start]], side="right"))
        while stop > start + 1 and counts[order[stop - 1]] * (stop - start) > CELLS:
            stop = start + max((stop - start) // 2, 1)
        out.append(order[start:stop])
        start = stop
    return out


def padded(flat: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> Array:
    """Rows (P, longest) cut out of one flat column, NaN after each prompt's samples."""
    width = int(counts.max())
    if np.all(counts == width):
        return np.asarray(flat[starts[:, None] + np.arange(width)], dtype=np.float64)
    inside = np.arange(width) < counts[:, None]
    cells = np.where(inside, starts[:, None] + np.arange(width), 0)
    return np.where(inside, flat[cells], np.nan)

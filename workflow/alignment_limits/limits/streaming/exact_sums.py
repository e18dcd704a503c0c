"""Sums of floats without rounding, hence the same to the last bit in whatever order and grouping they are taken.

A float is cut at fixed places into integers of 32 bits, in units of 2^-192, 2^-160, ..., 2^160; each place is summed in
int64, which holds 2^31 terms exactly (the long accumulator of Kulisch 1981, shortened). Merging two sums adds their
integers. What a term holds below 2^-192 = 1.6e-58 is cut off, by itself, so it depends on no other term either.
"""

import numpy as np

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import EstimateError

PLACES, BITS, LOWEST = 12, 32, 192
UNITS = 2.0 ** (BITS * np.arange(PLACES) - LOWEST)
PER_UNIT = 1.0 / UNITS
LARGEST = 2.0 ** (BITS * PLACES - LOWEST)


def zeros(groups: int, cells: int) -> np.ndarray:
    """Sums of nothing: (groups, PLACES, cells) int64."""
    return np.zeros((groups, PLACES, cells), dtype=np.int64)


def add(terms: Array, groups: np.ndarray, sums: np.ndarray) -> None:
    """Add each row of terms (P, N) to the sums (G, PLACES, N) of its group (P,), in place.

    Raises EstimateError : a term is not finite or 2^192 = 6e57 and more.
    """
    check(terms)
    rest = terms.copy()
    for place in reversed(range(PLACES)):
        pieces = np.trunc(rest * PER_UNIT[place])
        rest -= pieces * UNITS[place]
        np.add.at(sums[:, place], groups, pieces.astype(np.int64))


def check(terms: Array) -> None:
    """Raises EstimateError : a term cannot be summed."""
    if not np.all(np.abs(terms) < LARGEST):
        raise EstimateError(f"Scores are too large to be summed: their gains or variances pass {LARGEST:.0e}; rescale.")


def value(sums: np.ndarray) -> Array:
    """The sums as floats, (..., PLACES, N) -> (..., N), to two units in the last place."""
    used = np.flatnonzero(np.any(sums, axis=(*range(sums.ndim - 2), -1)))
    places = slice(used[0], used[-1] + 2) if len(used) else slice(0, 1)  # one more for what is carried
    digits = _carried(sums[..., places, :])
    negative = digits[..., -1:, :] < 0
    digits = _carried(np.where(negative, -digits, digits))  # no digit is negative now: nothing cancels below
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

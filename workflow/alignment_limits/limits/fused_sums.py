"""exact_sums.add, the same to the bit, in one compiled pass (Numba, optional)."""

from math import frexp
from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]

from alignment_limits.limits.arrays import Array
from alignment_limits.limits.exact_sums import BITS, LOWEST, PER_UNIT, PLACES, UNITS, check


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

"""When pairs determine Bradley-Terry rewards at all."""

from __future__ import annotations

import numpy as np


def has_finite_fit(wins: np.ndarray) -> np.ndarray:
    """Whether the maximum-likelihood rewards of each table of wins (..., Y, Y) are finite and unique, (...).

    They are if and only if every response can be reached from every other along wins (Ford 1957): otherwise the
    responses fall into two groups of which one never lost to the other, and the likelihood rises for ever as they
    part (separable data), or which never met.
    """
    reach = (wins > 0) | np.eye(wins.shape[-1], dtype=bool)
    for _ in range(max(wins.shape[-1] - 1, 1).bit_length()):
        reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
    return np.asarray(reach.all((-2, -1)))

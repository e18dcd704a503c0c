"""What each prompt adds to the streamed frontier."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np

from alignment_limits.ensembles.scores import Array
from alignment_limits.limits.correction import level_moments
from alignment_limits.limits.samples import quarter
from alignment_limits.limits.streaming import exact_sums

BLOCK = 64  # prompts at once; more only spills the caches
CELLS = 1 << 18  # samples at once


def compiled() -> ModuleType | None:
    """The compiled kernels, or None without Numba (or where its cache cannot be written)."""
    try:
        return import_module("alignment_limits.limits.streaming.kernels")
    except (ImportError, RuntimeError):
        return None


def prompt_terms(
    columns: list[Array], counts: np.ndarray, keys: np.ndarray, seed: int, inverse: Array, fused: ModuleType | None
) -> Array:
    """KL, gains and slopes of each prompt at all samples, halves and quarters: (P, L, 3 + 6 V).

    columns : V arrays (P, M), the optimized reward first, NaN behind each prompt's counts (P,) samples. keys : (P,)
    name the prompts in the seeded split. Along the last axis: KL (3), then for each reward its gain (3) and its
    d gain / d lambda (3).
    """
    if fused is None:
        return plain_terms(columns, keys, seed, inverse)
    rewards = columns[0]
    order = np.argsort(rewards, axis=1)  # NaN last
    if len(columns) > 1:
        tied = fused.tied_rows(rewards, order, counts)
        if tied.any():  # told apart by what they are evaluated on, as in quarters.quarter
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
    """The compiled or the plain exact addition."""
    return exact_sums.add if fused is None else import_module("alignment_limits.limits.streaming.kernels").add


def blocks(counts: np.ndarray, *, alike: bool) -> list[np.ndarray]:
    """Prompts in blocks of like sample counts (P,), so that little is padding and no block is large.

    alike : no padding at all, so that a prompt's terms do not show which prompts were beside it (NumPy's sums do).
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
    """Rows (P, longest) cut out of one flat column, NaN behind each prompt's samples."""
    width = int(counts.max())
    if np.all(counts == width):
        return np.asarray(flat[starts[:, None] + np.arange(width)], dtype=np.float64)
    inside = np.arange(width) < counts[:, None]
    cells = np.where(inside, starts[:, None] + np.arange(width), 0)
    return np.where(inside, flat[cells], np.nan)

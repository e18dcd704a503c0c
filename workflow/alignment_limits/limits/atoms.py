"""KL of a choice among samples whose scores tie: known from the atoms' masses, freed of the bias of estimating them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from alignment_limits.limits.arrays import QUARTERS, Array, split_labels
from alignment_limits.limits.curve import split_count
from alignment_limits.limits.ranks import tied

FEWEST = 8  # samples a prompt needs for quarters to say anything
SAMPLES_PER_DRAW = 4  # of tied scores: beyond it the correction by a series in 1/M leaves a part of the bias


def atoms_kl(
    estimate: Callable[[Array, NDArray[np.bool_]], Array],
    scores: Array,
    bound: Array,
    *,
    keys: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> tuple[Array, Array]:
    """KL per prompt (P, N) by `estimate`, corrected for 1/m and 1/m^2 bias, and the size of the last term (P, N).

    Args:
        estimate: (scores, atoms) -> (P, N); takes NaN for missing samples. `atoms` (P, M) marks the samples of atoms.
        scores: (P, M).
        bound: (N,) KL without ties, which such prompts have exactly.
        keys: integers that name the prompts in the seeded random splits.
        seed: of the splits.

    Prompts of fewer than 8 samples keep the value from all of them.
    """
    atoms = tied(scores)
    kl, left = np.repeat(bound[None], len(scores), axis=0), np.zeros((len(scores), len(bound)))
    some = np.flatnonzero(atoms.any(axis=1))
    if len(some):
        names = np.arange(len(scores)) if keys is None else np.asarray(keys)
        # As many splits as for all prompts: what a prompt gets does not depend on how many others tie.
        splits = split_count(len(scores))
        kl[some], left[some] = _extrapolated(estimate, scores[some], atoms[some], names[some], seed, splits)
    return kl, left


def _extrapolated(
    estimate: Callable[[Array, NDArray[np.bool_]], Array],
    scores: Array,
    atoms: NDArray[np.bool_],
    keys: NDArray[np.int64],
    seed: int,
    splits: int,
) -> tuple[Array, Array]:
    """8/3 F - 2 H + Q/3 of all samples, halves and quarters, and 2 (F - H) - (H - Q) over 3."""
    counts = np.sum(~np.isnan(scores), axis=1)
    ranks = np.argsort(scores, axis=1, kind="stable")
    full = estimate(scores, atoms)
    levels = [np.zeros_like(full), np.zeros_like(full)]
    for split in range(splits):
        labels = np.empty(scores.shape, dtype=np.int64)
        np.put_along_axis(labels, ranks, split_labels(counts, scores.shape[1], keys, seed + split), axis=1)
        for level, parts in enumerate((2, 4)):
            blocks = labels * parts // QUARTERS
            for part in range(parts):
                inside = (blocks == part) & (labels >= 0)
                share = inside.sum(axis=1) / counts / splits
                levels[level] += share[:, None] * estimate(np.where(inside, scores, np.nan), atoms)
    halves, quarters = levels
    enough = (counts >= FEWEST)[:, None]
    corrected = 8 / 3 * full - 2 * halves + quarters / 3
    last = (2 * (full - halves) - (halves - quarters)) / 3
    return np.where(enough, corrected, full), np.where(enough, last, full - halves)

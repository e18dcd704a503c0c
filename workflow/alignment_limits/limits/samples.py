"""Samples dealt into random quarters, side by side for every reward: the form in which tilts are summed."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alignment_limits.ensembles.scores import QUARTERS, Array, centre, prompt_means, split_labels


@dataclass(frozen=True)
class Quartered:
    """Samples of each prompt dealt at random into four nearly equal parts (P, 4, Q), padded.

    Attributes:
        rewards: optimized reward minus its prompt's largest, so that KL keeps its digits when the tilt sits on the best
            sample; 0 in the padding.
        offset: largest minus mean (P,).
        features: evaluated rewards minus their prompt means, (P, 4, Q, V); 0 in the padding.
        present: which cells are samples.
        sizes: samples of each part (P, 4).
        tops: each part's largest of `rewards` (P, 4); 0 of an empty one.
    """

    rewards: Array
    offset: Array
    features: Array
    present: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    tops: Array

    def rows(self, start: int, stop: int) -> "Quartered":
        """Some of the prompts."""
        return Quartered(*(getattr(self, field.name)[start:stop] for field in fields(self)))


@lru_cache(maxsize=8)
def _slots(
    counts: bytes, width: int, keys: bytes, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Which rank goes to which slot of which quarter; the same for every reward of a study, so kept.

    Returns each slot's rank as a place in the flattened (P, M) (P, 4, Q), which slots are filled (P, 4, Q) and the
    quarters' sizes (P, 4).
    """
    number, names = np.frombuffer(counts, dtype=np.int64), np.frombuffer(keys, dtype=np.int64)
    labels = split_labels(number, width, names, seed)
    # Slots: samples of quarter 0 first, then 1, ...; padding (-1 -> 4) last.
    deal = np.argsort(np.where(labels < 0, QUARTERS, labels), axis=1, kind="stable")
    sizes = np.stack([(labels == q).sum(axis=1) for q in range(QUARTERS)], axis=1)
    starts = np.cumsum(sizes, axis=1) - sizes
    room = int(sizes.max())
    present = np.arange(room)[None, None, :] < sizes[:, :, None]
    slots = np.where(present, starts[:, :, None] + np.arange(room)[None, None, :], 0).reshape(len(number), -1)
    places = _flat(np.take_along_axis(deal, slots, axis=1), width).reshape(present.shape)
    for array in (places, present, sizes):
        array.flags.writeable = False
    return places, present, sizes


def _flat(columns: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Columns (P, K) of a (P, width) array as places in it flattened, which NumPy gathers several times faster."""
    return columns + width * np.arange(len(columns))[:, None]


@dataclass(frozen=True)
class Deal:
    """The random quarters of each prompt's samples, for any reward of these samples, `splits` times over.

    Attributes:
        ranks: places in the flattened scores, by ascending score (P, M).
        counts: samples of each prompt (P,).
        keys: the integer that names it (P,).
        seed, splits: split s is seeded by seed + s.
    """

    ranks: NDArray[np.int64]
    counts: NDArray[np.int64]
    keys: NDArray[np.int64]
    seed: int
    splits: int

    def quarters(self, optimized: Array, evaluated: Sequence[Array]) -> list[Quartered]:
        """One Quartered per split; different rewards dealt alike stay together sample by sample."""
        best = np.nanmax(optimized, axis=1)
        offset = best - prompt_means(optimized)
        below, carried = optimized - best[:, None], [centre(array) for array in evaluated]
        parts = []
        for split in range(self.splits):
            places, present, sizes = _slots(
                self.counts.tobytes(), self.ranks.shape[1], self.keys.tobytes(), self.seed + split
            )
            picked, empty = self.ranks.take(places), ~present
            dealt = [array.take(picked) for array in (below, *carried)]
            for array in dealt:
                array[empty] = 0.0
            # One evaluated reward after the other in memory, as the sums run through them.
            features = np.moveaxis(np.stack(dealt, axis=1)[:, 1:], 1, -1)
            parts.append(Quartered(dealt[0], offset, features, present, sizes, _tops(dealt[0], present)))
        return parts


def _tops(rewards: Array, present: NDArray[np.bool_]) -> Array:
    """Largest reward (<= 0) of each part (P, B), 0 of an empty one."""
    return np.where(present.any(axis=2), np.max(rewards, axis=2, where=present, initial=-np.inf), 0.0)


def deal(
    scores: Array,
    others: Sequence[Array] = (),
    *,
    keys: NDArray[np.int64] | None = None,
    seed: int = 0,
    splits: int = 1,
) -> Deal:
    """Deal each prompt's samples into quarters, seeded by (seed, key of the prompt); `keys` default to row numbers.

    Ranks by `scores`, not positions, are dealt: the result does not depend on the order of samples within a prompt,
    and a table sorted by score is as good as any other. Samples tied in `scores` are told apart by `others`.
    """
    prompts, width = scores.shape
    ranks = np.argsort(scores, axis=1, kind="stable")
    if others:
        ordered = scores.take(_flat(ranks, width))
        if np.any(ordered[:, 1:] == ordered[:, :-1]):
            ranks = np.lexsort((*reversed(others), scores), axis=1)
    counts = np.sum(~np.isnan(scores), axis=1)
    names = np.arange(prompts) if keys is None else np.asarray(keys).astype(np.int64)
    return Deal(_flat(ranks, width), counts, names, seed, splits)


def quarter(
    optimized: Array, evaluated: Sequence[Array], *, keys: NDArray[np.int64] | None = None, seed: int = 0
) -> Quartered:
    """One split of the samples, ranked by the optimized reward and dealt into quarters."""
    return deal(optimized, evaluated, keys=keys, seed=seed).quarters(optimized, evaluated)[0]


def whole(optimized: Array, evaluated: list[Array]) -> Quartered:
    """All samples of each prompt in one block (P, 1, M), for estimates without correction."""
    missing = np.isnan(optimized)
    best = np.nanmax(optimized, axis=1) if missing.any() else optimized.max(axis=1)
    arrays = [optimized - best[:, None], *(centre(array) for array in evaluated)]
    if missing.any():  # real samples first
        order = np.argsort(missing, axis=1, kind="stable")
        arrays = [np.nan_to_num(np.take_along_axis(array, order, axis=1)) for array in arrays]
        missing = np.take_along_axis(missing, order, axis=1)
    present = ~missing[:, None, :]
    features = [array[:, None, :] for array in arrays[1:]]
    return Quartered(
        arrays[0][:, None, :],
        best - prompt_means(optimized),
        np.stack(features, axis=-1) if features else np.zeros((*present.shape, 0)),
        present,
        present.sum(axis=2),
        _tops(arrays[0][:, None, :], present),
    )

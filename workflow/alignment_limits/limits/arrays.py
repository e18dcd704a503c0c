"""Scores as arrays: checks with clear messages, and the seeded split of each prompt's samples into quarters.

A score array is float64 of shape (P prompts, M samples); NaN means "no such sample".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignment_limits.errors import EstimateError

Array = NDArray[np.float64]

QUARTERS = 4


def check_scores(scores: ArrayLike, name: str = "reward") -> Array:
    """Return `scores` as float64 (P, M); raise EstimateError naming the first row that cannot be used."""
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EstimateError(f"Scores of '{name}' are not numbers: {error}.") from error
    if array.ndim != 2 or 0 in array.shape:
        raise EstimateError(
            f"Scores of '{name}' have shape {array.shape}; expected (prompts, samples), neither of them 0."
        )
    infinite = np.isinf(array)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise EstimateError(
            f"Score of '{name}' is infinite at row {row}, sample {column} ({int(infinite.sum())} in all); "
            "drop or repair these samples (use NaN for a sample that does not exist)."
        )
    empty = np.isnan(array).all(axis=1)
    if empty.any():
        raise EstimateError(
            f"Row {int(np.argmax(empty))} of '{name}' has no score at all ({int(empty.sum())} such rows); "
            "leave such prompts out."
        )
    return array


def check_evaluated(optimized: Array, evaluated: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Check that every evaluated reward has scores for exactly the samples the optimized one has."""
    if not evaluated:
        raise EstimateError("No evaluated reward was given: pass {name: scores} with at least one entry.")
    present = ~np.isnan(optimized)
    checked = {}
    for name, scores in evaluated.items():
        array = check_scores(scores, name)
        if array.shape != optimized.shape:
            raise EstimateError(
                f"Scores of '{name}' have shape {array.shape}, the optimized reward {optimized.shape}; "
                "join them by (prompt_id, sample_id) first."
            )
        differs = np.isnan(array) == present
        if differs.any():
            row, column = np.argwhere(differs)[0]
            raise EstimateError(
                f"'{name}' and the optimized reward do not cover the same samples: first at row {row}, "
                f"sample {column} ({int(differs.sum())} in all)."
            )
        checked[name] = array
    return checked


def prompt_means(scores: Array) -> Array:
    """Mean of each prompt's samples (P,); exactly the common value where all are equal."""
    lowest, highest = np.nanmin(scores, axis=1), np.nanmax(scores, axis=1)
    return np.asarray(np.clip(np.nanmean(scores, axis=1), lowest, highest))


def centre(scores: Array) -> Array:
    """Subtract each prompt's mean over its samples (NaN stays NaN)."""
    return scores - prompt_means(scores)[:, None]


def within_prompt_sd(scores: Array) -> float:
    """Pooled within-prompt sd, sqrt(sum of squares / sum of (m - 1)); 0 if every prompt is constant.

    A prompt whose scores are all the same number contributes exactly 0, whatever the rounding of its mean.
    """
    spread = np.nanmax(scores, axis=1) > np.nanmin(scores, axis=1)
    if not spread.any():
        return 0.0
    squares = np.nansum(centre(scores)[spread] ** 2)
    freedom = np.sum(np.maximum(np.sum(~np.isnan(scores), axis=1) - 1, 0))
    return float(np.sqrt(squares / freedom))


@dataclass(frozen=True)
class Quartered:
    """Samples of each prompt dealt at random into four nearly equal parts (P, 4, Q), padded.

    rewards : optimized reward minus its prompt's largest, so that KL keeps its digits when the tilt sits on
        the best sample; 0 in the padding, which `present` tells apart. offset : largest minus mean (P,).
    features : evaluated rewards minus their prompt means, (P, 4, Q, V); 0 in the padding.
    sizes : samples per part (P, 4). tops : each part's largest of `rewards` (P, 4); 0 of an empty one.
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


def _splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 finaliser: counter-based, so a split depends on (seed, key, rank) and nothing else."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def split_labels(counts: NDArray[np.int64], width: int, keys: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Quarter (0-3) of each rank j < counts[x], -1 beyond; (P, width). All splits are equally likely."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    rows = _splitmix(keys.astype(np.uint64) * golden + np.uint64(seed % 2**63) + golden)
    draws = _splitmix(rows[:, None] + golden * np.arange(1, width + 1, dtype=np.uint64)[None, :])
    draws[np.arange(width)[None, :] >= counts[:, None]] = np.iinfo(np.uint64).max
    place = np.empty((len(counts), width), dtype=np.int64)
    np.put_along_axis(place, np.argsort(draws, axis=1, kind="stable"), np.arange(width)[None, :], axis=1)
    labels = (QUARTERS * place) // np.maximum(counts, 1)[:, None]
    return np.where(np.arange(width)[None, :] < counts[:, None], labels, -1)


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

    ranks : (P, M) places in the flattened scores, by ascending score. counts, keys : (P,), samples of each prompt and
    the integer that names it. Split s is seeded by seed + s.
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


def split_average(
    estimate: Callable[[Array, NDArray[np.bool_]], Array],
    scores: Array,
    marks: NDArray[np.bool_],
    *,
    keys: NDArray[np.int64] | None = None,
    seed: int = 0,
    splits: int = 1,
) -> Array:
    """A per-prompt estimate from all samples, halves and quarters, freed of 1/m and 1/m^2 bias: 8/3 F - 2 H + Q/3.

    estimate(scores, marks) -> (P, K) must take NaN for missing samples; `marks` (P, M) go along with the samples.
    Prompts of fewer than 8 samples keep F.
    """
    counts = np.sum(~np.isnan(scores), axis=1)
    keys = np.arange(len(scores)) if keys is None else np.asarray(keys)
    ranks = np.argsort(scores, axis=1, kind="stable")
    full = estimate(scores, marks)
    levels = [np.zeros_like(full), np.zeros_like(full)]
    for split in range(splits):
        labels = np.empty(scores.shape, dtype=np.int64)
        np.put_along_axis(labels, ranks, split_labels(counts, scores.shape[1], keys, seed + split), axis=1)
        for level, parts in enumerate((2, 4)):
            blocks = labels * parts // QUARTERS
            for part in range(parts):
                inside = (blocks == part) & (labels >= 0)
                share = inside.sum(axis=1) / counts / splits
                levels[level] += share[:, None] * estimate(np.where(inside, scores, np.nan), marks)
    corrected = 8 / 3 * full - 2 * levels[0] + levels[1] / 3
    return np.where((counts >= 8)[:, None], corrected, full)

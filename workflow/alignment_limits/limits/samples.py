"""Samples dealt into random quarters, in the same order for every reward: the input of sums over tilts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from alignment_limits.ensembles.scores import QUARTERS, Array, prompt_means, split_labels
from alignment_limits.errors import EstimateError


@dataclass(frozen=True)
class Quartered:
    """Samples of each prompt dealt at random into four nearly equal parts (P, 4, Q), padded.

    Attributes:
        rewards: optimized reward minus its prompt's maximum, so that the KL keeps its precision when the tilt is
            concentrated on the best sample; 0 in the padding.
        offset: largest minus mean (P,).
        features: evaluated rewards minus their prompt means, (P, 4, Q, V); 0 in the padding.
        present: which cells are samples.
        sizes: samples of each part (P, 4).
        tops: each part's largest of `rewards` (P, 4); 0 of an empty one.
        weights: density of the base over that of the pool of samples (`Pool.weights`), 0 in the padding; None if all
            samples are from the base.
    """

    rewards: Array
    offset: Array
    features: Array
    present: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    tops: Array
    weights: Array | None = None

    def rows(self, start: int, stop: int) -> "Quartered":
        """Some of the prompts."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return Quartered(**{name: array[start:stop] for name, array in arrays.items() if array is not None})

    @classmethod
    def joined(cls, parts: "Sequence[Quartered]") -> "Quartered":
        """The prompts of several, one after the other; all have equally many cells."""
        if len(parts) == 1:
            return parts[0]
        arrays = {field.name: [getattr(each, field.name) for each in parts] for field in fields(cls)}
        return cls(**{name: np.concatenate(each) for name, each in arrays.items() if each[0] is not None})

    @property
    def mass(self) -> Array | NDArray[np.int64]:
        """Total weight of each part (P, B)."""
        return self.sizes if self.weights is None else self.weights.sum(axis=2)


@dataclass(frozen=True)
class Pool:
    """Samples of several laws of known density. Together they show more of the tilt than base samples alone.

    Create one with `Pool.of`.

    Args:
        names, law, log_ratios: the attributes.

    Example:
        >>> Pool.of(["base", "ppo"], {"ppo": np.array([[0.0, np.log(3.0)]])}).weights(np.ones((1, 2), bool)).round(3)
        array([[1. , 0.5]])

    Attributes:
        names: of the laws; the first is the base.
        law: number of each sample's law (P, M), -1 if there is no such sample.
        log_ratios: log π_k/π₀ of every sample under each law (K, P, M), nats; 0 for the base.
    """

    names: tuple[str, ...]
    law: NDArray[np.int64]
    log_ratios: Array
    _known: dict[bytes, tuple[Array, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, laws: ArrayLike, log_ratios: Mapping[str, ArrayLike], *, base: str = "base") -> "Pool":
        """A pool from each sample's law and its log-ratios under every law.

        Args:
            laws: name of each sample's law (prompts, samples), or (samples,) if it is the same for all prompts.
            log_ratios: for each law except the base, log π/π₀ of **all** samples (prompts, samples), in nats, not only
                of its own. -inf if the law cannot draw the sample, inf if the base cannot; NaN marks a missing sample.
            base: name of the base.

        Returns:
            The pool.

        Raises:
            EstimateError: a law without log-ratios, shapes that differ, or no samples of the base.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> scores = np.concatenate([rng.normal(size=(64, 32)), rng.normal(2.0, 1.0, size=(64, 32))], axis=1)
            >>> laws = np.repeat(["base", "shifted"], 32)
            >>> Pool.of(laws, {"shifted": 2.0 * scores - 2.0}).names  # log N(2, 1)/N(0, 1)
            ('base', 'shifted')

        References:
            docs/theory.md, "Pools of known density"; the balance heuristic of Veach and Guibas (1995).
        """
        names = (base, *sorted(name for name in log_ratios if name != base))
        arrays = [np.asarray(log_ratios[name], dtype=np.float64) for name in names[1:]]
        if not arrays:
            raise EstimateError("A pool needs the log-ratios of at least one law in addition to the base.")
        shape = arrays[0].shape
        if len(shape) != 2 or any(array.shape != shape for array in arrays):
            raise EstimateError(
                f"Log-ratios must all have the same shape (prompts, samples); got {[a.shape for a in arrays]}."
            )
        given = np.asarray(laws)
        if given.shape not in (shape, shape[1:]):
            raise EstimateError(f"The laws have shape {given.shape}, but the samples have shape {shape}.")
        given = np.broadcast_to(given, shape)
        missing = np.isnan(arrays).any(axis=0)
        law = np.full(shape, -1, dtype=np.int64)
        for k, name in enumerate(names):
            law[(given == name) & ~missing] = k
        unknown = ~missing & (law < 0)
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            raise EstimateError(
                f"Sample {column} of prompt {row} is from the law '{given[row, column]}', which has no log-ratios. "
                f"There are log-ratios for {', '.join(names[1:])}; the base is '{base}'."
            )
        if not (law == 0).any():
            raise EstimateError(f"No sample is from the base '{base}'; set base= to its name, or add its samples.")
        return cls(names, law, np.stack([np.zeros(shape), *arrays]))

    def base_only(self, scores: Array) -> Array:
        """Scores (P, M) of the base's samples, NaN elsewhere."""
        return np.where(self.law == 0, scores, np.nan)

    def rows(self, which: NDArray[Any]) -> "Pool":
        """Some of the prompts, by their numbers or by a mask."""
        return Pool(self.names, self.law[which], self.log_ratios[:, which])

    def without(self, missing: NDArray[np.bool_]) -> "Pool":
        """The pool without some samples (P, M)."""
        return Pool(self.names, np.where(missing, -1, self.law), self.log_ratios) if missing.any() else self

    def log_weights(self, present: NDArray[np.bool_]) -> Array:
        """Log density of the base over that of the mixture of a prompt's samples (P, M), -inf without a sample."""
        return self._of(present)[0]

    def weights(self, present: NDArray[np.bool_]) -> Array:
        """The exponential of `log_weights`: at most samples / base samples of a prompt, 0 without a sample."""
        return np.exp(self.log_weights(present))

    def misfit(self, present: NDArray[np.bool_]) -> str:
        """Which law's log-ratios contradict the samples, and how clearly; "" if none do.

        The log-ratios give the probability r_k that a pooled sample is of law k. Of right ones, r_k has the mean n_k/n,
        and r_k (1 − r_k) summed over the samples of law k equals r_k² summed over the others, up to noise.
        """
        return self._of(present)[1]

    def _of(self, present: NDArray[np.bool_]) -> tuple[Array, str]:
        """Log weights and misfit, computed once for all rewards and temperatures of the same samples."""
        key = present.tobytes()
        if key not in self._known:
            self._known.clear()
            self._known[key] = self._log_weights(present), self._misfit(present)
        return self._known[key]

    def _log_weights(self, present: NDArray[np.bool_]) -> Array:
        own = present & (self.law >= 0)
        total = np.full(own.shape, -np.inf)
        for k, ratios in enumerate(self.log_ratios):
            share = np.sum((self.law == k) & own, axis=1) / np.maximum(own.sum(axis=1), 1)
            with np.errstate(divide="ignore"):
                total = np.logaddexp(total, np.log(share)[:, None] + np.where(own, ratios, 0.0))
        return np.where(own, -total, -np.inf)

    def _misfit(self, present: NDArray[np.bool_]) -> str:
        own = present & (self.law >= 0)
        number = np.maximum(own.sum(axis=1), 1)
        is_law = (self.law == np.arange(len(self.names))[:, None, None]) & own
        with np.errstate(divide="ignore"):
            share = np.maximum(np.log(is_law.sum(axis=2) / number), -IMPOSSIBLE)
        ratios = np.clip(np.where(own, self.log_ratios, 0.0), -IMPOSSIBLE, IMPOSSIBLE)
        chance = scipy.special.softmax(share[:, :, None] + ratios, axis=0) * own
        off = np.stack([chance - is_law, chance * (is_law - chance)]).sum(axis=3) / number  # (2, K, P)
        prompts = off.shape[2]
        if prompts < 2:
            return ""
        mean, error = np.abs(off.mean(axis=2)), off.std(axis=2, ddof=1) / np.sqrt(prompts)
        wrong = np.where(mean > SLIGHT_MISFIT, mean / np.maximum(error, 1e-12), 0.0).max(axis=0)
        if wrong.max() <= MISFIT:
            return ""
        law = self.names[1 + int(np.argmax(wrong[1:]))]
        return (
            f"log-ratios of '{law}' {CONTRADICTION}: they must be log π(y) − log π₀(y) of complete replies, in "
            "nats, under the laws that drew the samples"
        )


CONTRADICTION = "contradict the samples"
IMPOSSIBLE = 1e6  # nats; stands for an infinite log-ratio
MISFIT = 5.0  # standard errors; right log-ratios of 16 to 64 prompts stay below, see tests/limits/test_pool.py
SLIGHT_MISFIT = 0.005  # of the samples; less, such as rounding of log-probabilities, matters little


@lru_cache(maxsize=32)
def _slots(
    counts: bytes, width: int, keys: bytes, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """The slots of quarters that ranks are dealt to. They are the same for every reward of a study, so they are cached.

    Returns each slot's rank as a place in the flattened (P, M) (P, 4, Q), whether each slot is filled (P, 4, Q), and
    the sizes of the quarters (P, 4).
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
    """Columns (P, K) of a (P, width) array as places in the flattened array, which NumPy reads several times faster."""
    return columns + width * np.arange(len(columns))[:, None]


@dataclass(frozen=True)
class Deal:
    """The random quarters of each prompt's samples, for any reward of these samples, `splits` times over.

    Samples of several laws are dealt separately for each law, so each quarter has a quarter of every law's samples.

    Attributes:
        ranks: places in the flattened scores, by ascending score, of each law's samples (P, M).
        counts: samples of each prompt, of each law (P,).
        keys: the integer that names it (P,).
        seed, splits: split s is seeded by seed + s.
        weights: of the samples (P, M), if they are from several laws.
    """

    ranks: tuple[NDArray[np.int64], ...]
    counts: tuple[NDArray[np.int64], ...]
    keys: NDArray[np.int64]
    seed: int
    splits: int
    weights: Array | None = None

    def quarters(self, optimized: Array, evaluated: Sequence[Array]) -> list[Quartered]:
        """One Quartered per split. All rewards are dealt in the same way, so samples stay together."""
        best = np.nanmax(optimized, axis=1)
        offset = best - base_means(optimized, self.weights)
        below = optimized - best[:, None]
        carried = [array - base_means(array, self.weights)[:, None] for array in evaluated]
        arrays = [below, *carried] if self.weights is None else [below, *carried, self.weights]
        parts = []
        for split in range(self.splits):
            dealt, present, sizes = self._dealt(arrays, self.seed + split)
            weights = None if self.weights is None else dealt.pop()
            # One evaluated reward after the other in memory, in the order of the sums.
            features = np.moveaxis(np.stack(dealt, axis=1)[:, 1:], 1, -1)
            parts.append(Quartered(dealt[0], offset, features, present, sizes, _tops(dealt[0], present), weights))
        return parts

    def _dealt(self, arrays: Sequence[Array], seed: int) -> tuple[list[Array], NDArray[np.bool_], NDArray[np.int64]]:
        """Arrays (P, M) as (P, 4, Q), 0 in the padding; which cells are samples, and how many of each quarter."""
        laws = []
        for law, (ranks, counts) in enumerate(zip(self.ranks, self.counts, strict=True)):
            named = self.keys.tobytes()
            places, present, sizes = _slots(counts.tobytes(), ranks.shape[1], named, seed + law * ANOTHER_LAW)
            picked, empty = ranks.take(places), ~present
            dealt = [array.take(picked) for array in arrays]
            for array in dealt:
                array[empty] = 0.0
            laws.append((dealt, present, sizes))
        if len(laws) == 1:
            return laws[0]
        dealt = [np.concatenate(each, axis=2) for each in zip(*(arrays for arrays, _, _ in laws), strict=True)]
        present = np.concatenate([present for _, present, _ in laws], axis=2)
        return dealt, present, np.sum([sizes for _, _, sizes in laws], axis=0)


ANOTHER_LAW = 1_000_003  # from the seed of one law's splits to that of the next


def base_means(scores: Array, weights: Array | None) -> Array:
    """Mean of each prompt under the base (P,), from base samples or from weighted ones."""
    if weights is None:
        return prompt_means(scores)
    return np.asarray(np.nansum(weights * scores, axis=1) / weights.sum(axis=1))


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
    pool: "Pool | None" = None,
) -> Deal:
    """Deal each prompt's samples into quarters, seeded by (seed, key of the prompt); `keys` default to row numbers.

    Ranks by `scores` are dealt, not positions. So the result does not depend on the order of samples within a prompt,
    and a table may be sorted by score. Samples tied in `scores` are ordered by `others`.
    """
    prompts, width = scores.shape
    laws = [scores] if pool is None else [np.where(pool.law == k, scores, np.nan) for k in range(len(pool.names))]
    ranks = []
    for own in laws:
        order = np.argsort(own, axis=1, kind="stable")
        if others:
            ordered = own.take(_flat(order, width))
            if np.any(ordered[:, 1:] == ordered[:, :-1]):
                order = np.lexsort((*reversed(others), own), axis=1)
        ranks.append(_flat(order, width))
    counts = tuple(np.sum(~np.isnan(own), axis=1) for own in laws)
    names = np.arange(prompts) if keys is None else np.asarray(keys).astype(np.int64)
    weights = None if pool is None else pool.weights(~np.isnan(scores))
    return Deal(tuple(ranks), counts, names, seed, splits, weights)


def quarter(
    optimized: Array, evaluated: Sequence[Array], *, keys: NDArray[np.int64] | None = None, seed: int = 0
) -> Quartered:
    """One split of the samples, ranked by the optimized reward and dealt into quarters."""
    return deal(optimized, evaluated, keys=keys, seed=seed).quarters(optimized, evaluated)[0]


def whole(optimized: Array, evaluated: list[Array]) -> Quartered:
    """All samples of each prompt in one block (P, 1, M), for estimates without correction."""
    missing = np.isnan(optimized)
    best = np.nanmax(optimized, axis=1) if missing.any() else optimized.max(axis=1)
    arrays = [optimized - best[:, None], *(array - prompt_means(array)[:, None] for array in evaluated)]
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

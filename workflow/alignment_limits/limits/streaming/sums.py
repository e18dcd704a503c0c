"""The frontier of scores that do not fit in memory: sums over prompts, added shard by shard on any machine.

A shard contains sums over its prompts at a grid of inverse temperatures, the same for all shards: KL, gains and their
slopes, from all samples, halves and quarters. `reader.read_frontier` turns them into a table. Everything random follows
from a prompt's integer key: its split into quarters, its group for the jackknife, and whether it is a specimen, which
is kept for the verdict. Sums are exact (terms.py). So they do not depend on how prompts are divided among shards, or
on the order and grouping in which shards are merged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    FEWEST_SAMPLES,
    Array,
    check_evaluated,
    check_keys,
    check_scores,
    splitmix,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.brackets import RANGES, check_bounds, largest_mean
from alignment_limits.limits.streaming import terms
from alignment_limits.limits.streaming.terms import adder, blocks, compiled, padded, prompt_terms
from alignment_limits.limits.tilt import check_betas

GROUPS = 256  # groups of prompts, left out one at a time for intervals; error of widths: 1/sqrt(2 * 255) = 4%
SPECIMENS = 512  # prompts whose scores are kept for medians (Pareto k to 0.015),
SPECIMEN_CELLS = 1 << 24  # but fewer if they are long: 128 MiB of scores,
FEWEST_SPECIMENS = 16  # and not fewer than these
NO_PROMPT = 1 << 31  # as the smallest number of samples
SMALLEST, LARGEST = 1e-20, 1e28  # of scores' differences: their squares are summed in units of 1e-58 up to 1e57


class Specimens:
    """The prompts with the smallest marks (a hash of the key), and their optimized scores in ascending order.

    As many as the three constants above allow; memory is that of the padded array. Both bounds apply to the first
    prompts in the order of marks. So the choice does not depend on the order in which prompts are added.
    """

    def __init__(self) -> None:
        self._marks: list[int] = []
        self._rows: list[Array] = []
        self._cells = 0
        self._limit = 1 << 64  # larger marks cannot be kept

    def add(self, marks: np.ndarray, rows: Sequence[np.ndarray] | Array) -> None:
        """Consider more prompts, (P,) marks and their scores, NaN = no such sample."""
        for i in range(len(marks)) if self._limit == 1 << 64 else np.flatnonzero(marks < np.uint64(self._limit)):
            row = np.sort(rows[i])
            self._marks.append(int(marks[i]))
            self._rows.append(row[: np.count_nonzero(~np.isnan(row))])
            self._cells += len(self._rows[-1])
            if len(self._marks) >= 2 * SPECIMENS or self._cells >= 2 * SPECIMEN_CELLS:
                self._prune()

    def _prune(self) -> None:
        order = sorted(range(len(self._marks)), key=self._marks.__getitem__)
        longest = np.maximum.accumulate([len(self._rows[i]) for i in order] or [0])
        fit = int(np.count_nonzero(longest * np.arange(1, len(longest) + 1) <= SPECIMEN_CELLS))
        kept = min(max(fit, FEWEST_SPECIMENS), SPECIMENS, len(order))
        if kept < len(order):
            self._limit = self._marks[order[kept]]
        self._marks, self._rows = [self._marks[i] for i in order[:kept]], [self._rows[i] for i in order[:kept]]
        self._cells = sum(len(row) for row in self._rows)

    @property
    def marks(self) -> np.ndarray:
        """Marks in ascending order, (S,) uint64."""
        self._prune()
        return np.array(self._marks, dtype=np.uint64)

    @property
    def scores(self) -> Array:
        """Scores of each, (S, M), NaN-padded."""
        self._prune()
        out = np.full((len(self._rows), max((len(row) for row in self._rows), default=0)), np.nan)
        for kept, row in zip(out, self._rows, strict=True):
            kept[: len(row)] = row
        return out


@dataclass
class FrontierSums:
    """Sums over prompts at inverse temperatures of V rewards, the optimized one first.

    Attributes:
        names: of the rewards.
        inverse: (L,).
        seed: of the splits.
        prompts: (256,), each group's number of prompts with 16 samples or more; the others, `left_out`, are excluded.
        samples: of all prompts.
        clustered: whether groups consist of clusters of prompts.
        sums: (256, PLACES, L (3 + 6 V)) of each group's terms (`terms.prompt_terms`), in the format of `terms.zeros`.
        specimens: prompts whose scores are kept for the verdict.
        keys: of all prompts (P,), 8 bytes each; nothing else grows with them.
        bounds: the lowest and the highest score of the optimized reward, or None.
        fewest: the smallest number of samples of a prompt in the sums.
        ends: (256, PLACES, 2 (B + 1)) sums for the upper bound of the limit, without bounds (256, PLACES, 0): of W_x at
            `nodes` over its largest value and of (best score - mean) / range, then of their squares.
    """

    names: tuple[str, ...]
    inverse: Array
    seed: int
    prompts: np.ndarray
    samples: int
    left_out: int
    clustered: bool
    sums: np.ndarray
    specimens: Specimens
    _keys: list[np.ndarray]
    bounds: tuple[float, float] | None = None
    fewest: int = NO_PROMPT
    ends: np.ndarray = field(default_factory=lambda: terms.zeros(GROUPS, 0))

    @classmethod
    def empty(
        cls,
        names: Sequence[str],
        betas: ArrayLike,
        seed: int = 0,
        *,
        clustered: bool = False,
        bounds: tuple[float, float] | None = None,
    ) -> "FrontierSums":
        """Empty sums of the named rewards, the optimized one first, at a grid of betas."""
        if len(set(names)) != len(names):
            raise EstimateError(f"Rewards have the same name: {', '.join(names)}.")
        inverse = np.unique(1.0 / check_betas(betas))
        sums = terms.zeros(GROUPS, len(inverse) * (3 + 6 * len(names)))
        prompts = np.zeros(GROUPS, dtype=np.int64)
        out = cls(tuple(names), inverse, seed, prompts, 0, 0, clustered, sums, Specimens(), [])
        if bounds is not None:
            out.bounds = (float(bounds[0]), float(bounds[1]))
            check_bounds(np.empty((1, 0)), out.bounds, names[0])
            out.ends = terms.zeros(GROUPS, 2 * (len(out.nodes) + 1))
        return out

    @property
    def span(self) -> float:
        """The largest difference of two scores of the optimized reward."""
        return np.inf if self.bounds is None else self.bounds[1] - self.bounds[0]

    @property
    def nodes(self) -> np.ndarray:
        """The numbers of those inverse temperatures that the upper bound uses (B,), chosen without the scores."""
        near = np.abs(np.log(self.inverse * self.span / RANGES[:, None])).argmin(axis=1)
        return np.unique(near[self.inverse[near] * self.span <= 2 * RANGES[-1]])

    @property
    def keys(self) -> np.ndarray:
        """Keys of all prompts in ascending order, (P,) int64."""
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *self._keys]))

    @property
    def totals(self) -> Array:
        """Sums of each group, (256, L, 3 + 6 V)."""
        return terms.value(self.sums).reshape(GROUPS, len(self.inverse), -1)

    @property
    def total(self) -> Array:
        """Sums over all groups, (L, 3 + 6 V)."""
        return terms.value(self.sums.sum(axis=0)).reshape(len(self.inverse), -1)

    def add(
        self,
        keys: np.ndarray,
        counts: np.ndarray,
        columns: Sequence[np.ndarray],
        *,
        clusters: np.ndarray | None = None,
    ) -> None:
        """Add P complete prompts.

        Args:
            keys: name of each (P,).
            counts: samples of each (P,).
            columns: finite scores (sum of counts,) of every reward in the order of `names`, prompt after prompt.
            clusters: integers (P,) that name each prompt's cluster across all shards, where the sums are `clustered`.

        Raises:
            EstimateError: clusters without `clustered` sums, or the reverse; scores too large or too small to sum.
        """
        if (clusters is not None) != self.clustered:
            raise EstimateError("Either all prompts of these sums have a cluster, or none.")
        for name, column in zip(self.names, columns, strict=True):
            check_range(column, name)
        best = np.empty(0) if self.bounds is None else self._best(columns[0], np.asarray(counts))
        fused = compiled()
        add = adder(fused)
        keys = np.asarray(keys, dtype=np.int64)
        counts = np.asarray(counts, dtype=np.int64)
        starts = np.cumsum(counts) - counts
        marks = splitmix(keys.astype(np.uint64))
        together = marks if clusters is None else splitmix(np.asarray(clusters, dtype=np.int64).astype(np.uint64))
        groups = (together >> np.uint64(56)).astype(np.int64)
        marks = splitmix(marks)
        enough = np.flatnonzero(counts >= FEWEST_SAMPLES)
        for block in blocks(counts[enough], alike=fused is None):
            rows = enough[block]
            cells = [padded(column, starts[rows], counts[rows]) for column in columns]
            terms = prompt_terms(cells, counts[rows], keys[rows], self.seed, self.inverse, fused)
            add(terms.reshape(len(rows), -1), groups[rows], self.sums)
            if self.bounds is not None:
                at, kl, gain = self.inverse[self.nodes], terms[:, self.nodes, 0], terms[:, self.nodes, 3]
                share = np.exp(at * gain - kl) / largest_mean(at * self.span)
                share = np.concatenate([share, best[rows, None]], axis=1)
                add(np.concatenate([share, share**2], axis=1), groups[rows], self.ends)
            self.specimens.add(marks[rows], cells[0])
        self.prompts += np.bincount(groups[enough], minlength=GROUPS)
        self.left_out += len(keys) - len(enough)
        self.samples += int(np.sum(counts))
        self.fewest = min(self.fewest, int(counts[enough].min(initial=NO_PROMPT)))
        self._keys.append(keys)

    def _best(self, scores: np.ndarray, counts: np.ndarray) -> Array:
        """(Best possible score - mean) / range of each prompt (P,), from scores prompt after prompt."""
        assert self.bounds is not None
        check_bounds(scores[None], self.bounds, self.names[0])
        sums = np.add.reduceat(scores.astype(np.float64), np.cumsum(counts) - counts)
        return np.asarray(np.clip((self.bounds[1] - sums / counts) / self.span, 0.0, 1.0))

    def include(self, other: "FrontierSums", label: str = "another", ours: str = "these sums") -> None:
        """Add another shard's sums.

        Args:
            other: the shard.
            label, ours: name the two in errors.

        Raises:
            EstimateError: the sums have other rewards, other betas or another seed.
        """
        for what, mine, theirs in (
            ("rewards", self.names, other.names),
            ("seed", self.seed, other.seed),
            ("use of clusters", self.clustered, other.clustered),
            ("beta grid", self.inverse.tolist(), other.inverse.tolist()),
            ("pair of bounds", self.bounds, other.bounds),
        ):
            if mine != theirs:
                shown = "" if isinstance(mine, list) else f" ({theirs}, not {mine})"
                raise EstimateError(f"{label} has another {what} than {ours}{shown}")
        self.sums += other.sums
        self.prompts += other.prompts
        self.samples += other.samples
        self.left_out += other.left_out
        self.fewest = min(self.fewest, other.fewest)
        self.ends += other.ends
        self.specimens.add(other.specimens.marks, other.specimens.scores)
        self._keys.append(other.keys)


def sum_shard(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    betas: ArrayLike,
    keys: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> FrontierSums:
    """Partial sums of one shard of prompts, at a grid of betas common to all shards.

    Args:
        optimized: scores (prompts, samples); NaN marks a missing sample. Their name in the sums is "optimized".
        evaluated: scores of the same samples, or such scores by name; default: only the optimized reward.
        betas: a grid that reaches the largest KL that you will read (`octaves`).
        keys: integers (prompts,) that name the prompts across all shards; default: row numbers, for one shard only.
        clusters: integers (prompts,) that name the clusters of prompts that are not independent, across all shards;
            default: every prompt is independent.
        seed: of the splits.
        bounds: the lowest and the highest score of the optimized reward; they give `at_most`.

    Returns:
        The sums.

    Raises:
        EstimateError: scores that cannot be used or summed or are outside the bounds, or a key occurs twice.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> shards = [sum_shard(scores[i::2], betas=octaves(), keys=np.arange(200)[i::2]) for i in range(2)]
        >>> merge(shards).samples
        12800

    References:
        docs/streaming.md.
    """
    scores = check_scores(optimized, "optimized")
    alone = evaluated is None or (isinstance(evaluated, Mapping) and not evaluated)
    others = {} if evaluated is None or alone else check_evaluated(scores, evaluated)
    sums = FrontierSums.empty(["optimized", *others], betas, seed, clustered=clusters is not None, bounds=bounds)
    present = ~np.isnan(scores)
    whole = present.all()
    columns = [array.ravel() if whole else array[present] for array in (scores, *others.values())]
    sums.add(check_keys(keys, len(scores)), present.sum(axis=1), columns, clusters=clusters)
    merge([sums])  # refuses keys that occur twice
    return sums


def merge(shards: Iterable[FrontierSums], labels: Sequence[str] = ()) -> FrontierSums:
    """Sums of all shards, in any order, one in memory at a time.

    Args:
        shards: of `sum_shard`.
        labels: name them in errors.

    Returns:
        The sums. They do not depend on the order and grouping of the shards.

    Raises:
        EstimateError: no shards, different rewards, grids or seeds, or a prompt in two shards.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> one, two = (sum_shard(scores[i::2], betas=[1.0], keys=np.arange(200)[i::2]) for i in range(2))
        >>> bool((merge([one, two]).total == merge([two, one]).total).all())
        True
    """
    total, keys, names = None, [], []
    for i, shard in enumerate(shards):
        names.append(labels[i] if labels else f"shard {i}")
        if total is None:
            total = FrontierSums.empty(
                shard.names, 1.0 / shard.inverse, shard.seed, clustered=shard.clustered, bounds=shard.bounds
            )
            total.inverse = shard.inverse
        total.include(shard, names[-1], names[0])
        keys.append(shard.keys)
    if total is None:
        raise EstimateError("There are no shards to merge.")
    origin = np.repeat(np.arange(len(names)), [len(k) for k in keys])
    together = np.concatenate(keys)
    order = np.argsort(together, kind="stable")
    twice = np.flatnonzero(together[order][1:] == together[order][:-1])
    if len(twice):
        one, other = (names[origin[order[twice[0] + i]]] for i in (0, 1))
        raise EstimateError(
            f"{len(twice)} prompt(s) would count twice, the first in {one} and {other}. All samples of a prompt must "
            "be in one shard, and each shard may be given only once (name prompts by `keys`)."
        )
    return total


def check_range(scores: np.ndarray, name: str) -> None:
    """Refuse scores whose squares are outside the range of the exact sums.

    Raises:
        EstimateError: they are.
    """
    spread = float(np.max(scores, initial=-np.inf) / 2 - np.min(scores, initial=np.inf) / 2) if len(scores) else 0.0
    if not (spread == 0 or SMALLEST < spread < LARGEST):
        raise EstimateError(
            f"Scores of '{name}' differ by {2 * spread:.0e}; exact sums need differences from {SMALLEST:.0e} to "
            f"{LARGEST:.0e}. Multiply all scores of this reward by a power of ten."
        )


def octaves(scale: float = 1.0, *, low: int = -4, high: int = 5, steps: int = 8) -> Array:
    """A grid of betas: β = scale / λ, λ from 2^low up to 2^high.

    Args:
        scale: typical within-prompt sd of the optimized reward.
        low, high: the default spans a KL of 0.002 nats to the ceiling of thousands of samples.
        steps: for each doubling. With exact doublings the kernel can square exponentials instead of computing them.

    Returns:
        Betas, falling, in units of the reward.

    Raises:
        EstimateError: a scale that is not positive and finite.

    Example:
        >>> octaves(low=-1, high=1, steps=1)
        array([2. , 1. , 0.5])
    """
    if not (np.isfinite(scale) and scale > 0):
        raise EstimateError(f"The scale of the rewards must be positive and finite, not {scale!r}.")
    inverse = 2.0 ** (np.arange(steps) / steps) * 2.0 ** np.arange(low, high)[:, None] / scale
    return np.asarray(1.0 / np.append(inverse.ravel(), 2.0**high / scale))

"""Scores as arrays: checks with clear messages, and the seeded random split of each prompt's samples.

A score array is float64 of shape (P prompts, M samples). NaN means that there is no such sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignment_limits.errors import EstimateError, SourceError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

# Types of the columns of results. The contract of a table follows from them (tables/estimates.py).
Array = NDArray[np.float64]
Counts = NDArray[np.int32]
Flags = NDArray[np.bool_]
Words = NDArray[np.object_]

QUARTERS = 4
FEWEST_SAMPLES = 16  # of a prompt: four in each quarter; fewer samples do not show the bias


FIGURES = "alignment_limits.report.figures.table"  # by name: figures are not part of the code that computes numbers


APART = {"column": False}  # metadata of a result's field that is not a column


class Columns:
    """A result: a dataclass of columns of equal length. It can be iterated by row, turned into a table and plotted.

    Attributes:
        shown: columns whose range the short description gives.
        verdict: the column whose true rows the short description counts.

    Example:
        >>> from alignment_limits.limits import frontier
        >>> table = frontier(np.random.default_rng(0).normal(size=(64, 64)), kls=[0.1, 0.5])
        >>> table
        FrontierTable: 2 rows, 2 reliable
          kl 0.1 to 0.5, gain 0.445 to 0.993
        >>> [round(row["gain"], 2) for row in table]
        [0.45, 0.99]
        >>> table.to_polars().columns[:4]
        ['at', 'budget', 'beta', 'kl']
    """

    shown: ClassVar[tuple[str, ...]] = ()
    verdict: ClassVar[str] = "reliable"

    @classmethod
    def names(cls) -> list[str]:
        """Names of the columns, in the order of the contract: all fields except those marked `APART`."""
        return [field.name for field in fields(cls) if field.metadata != APART]  # type: ignore[arg-type]

    def columns(self) -> dict[str, np.ndarray]:
        """Columns by name, in the order of the contract."""
        return {name: getattr(self, name) for name in self.names()}

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns().values())))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Row by row, as mappings."""
        columns = {name: values.tolist() for name, values in self.columns().items()}
        return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))

    def __repr__(self) -> str:
        columns, size = self.columns(), len(self)
        rows = "1 row" if size == 1 else f"{size} rows"
        if self.verdict in columns:
            rows += f", {int(np.sum(columns[self.verdict]))} {self.verdict}"
        finite = {name: columns[name][np.isfinite(columns[name])] for name in self.shown}
        ranges = [f"{name} {least:.3g} to {most:.3g}" for name, least, most in _ranges(finite)]
        return "\n  ".join([f"{type(self).__name__}: {rows}", *([", ".join(ranges)] if ranges else [])])

    @classmethod
    def polars_schema(cls) -> dict[str, Any]:
        """Columns and their Polars types."""
        import polars as pl

        types: dict[Any, Any] = {Array: pl.Float64, Counts: pl.Int32, Flags: pl.Boolean, Words: pl.String}
        hints = get_type_hints(cls)
        return {name: types[hints[name]] for name in cls.names()}

    def to_polars(self) -> pl.DataFrame:
        """The result as a Polars table; null where a whole number is missing."""
        import polars as pl

        types = self.polars_schema()
        table = pl.DataFrame(self.columns())
        whole = [name for name, kind in types.items() if kind == pl.Int32 and table[name].dtype.is_float()]
        return table.with_columns(pl.col(whole).fill_nan(None)).select(pl.col(n).cast(k) for n, k in types.items())

    def plot(self, **settings: Any) -> Figure:
        """The workflow's figure of this result; needs `pip install 'alignment-limits[figures]'`.

        Args:
            settings: of the figure: `look` for its size and colours, and further results that it draws.

        Returns:
            A Matplotlib figure.

        Raises:
            SourceError: matplotlib or seaborn is not installed.
        """
        try:
            figures = import_module(FIGURES)
            figure: Figure = figures.plot(self, **settings)
        except ModuleNotFoundError as error:
            raise SourceError(f"{error}; figures need: pip install 'alignment-limits[figures]'") from error
        return figure


def _ranges(columns: Mapping[str, Array]) -> list[tuple[str, float, float]]:
    return [(name, float(values.min()), float(values.max())) for name, values in columns.items() if len(values)]


def check_scores(scores: ArrayLike, name: str = "reward") -> Array:
    """Scores as a float64 array, checked.

    Args:
        scores: (prompts, samples); NaN, or a masked value, marks a missing sample.
        name: of the reward, for messages.

    Returns:
        Scores (P, M).

    Raises:
        EstimateError: not numbers, not two-dimensional, infinite, or a prompt without any score. The message names the
            first row that cannot be used.

    Example:
        >>> check_scores([[1, 2], [3, None]]).tolist()
        [[1.0, 2.0], [3.0, nan]]
    """
    try:
        if np.ma.isMaskedArray(scores):  # a masked sample is a missing sample
            scores = np.ma.filled(np.ma.asarray(scores).astype(np.float64), np.nan)
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


def check_evaluated(optimized: Array, evaluated: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
    """Evaluated rewards, checked to have scores for exactly the samples of the optimized reward.

    Args:
        optimized: checked scores (P, M).
        evaluated: scores by name, or one array of scores, which is then named "evaluated".

    Returns:
        Checked scores (P, M) by name.

    Raises:
        EstimateError: no reward was given, or one of them has another shape or other missing samples.

    Example:
        >>> list(check_evaluated(np.zeros((1, 2)), [[1.0, 2.0]]))
        ['evaluated']
    """
    if not isinstance(evaluated, Mapping):
        evaluated = {"evaluated": evaluated}
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


T = TypeVar("T")


def as_given(evaluated: object, results: Mapping[str, T]) -> Any:
    """Results by name if rewards were given by name, otherwise the one result."""
    return results if isinstance(evaluated, Mapping) else next(iter(results.values()))


def check_keys(keys: ArrayLike | None, prompts: int) -> NDArray[np.int64]:
    """Integers that name the prompts in random splits and draws.

    Args:
        keys: integers (P,), or None for row numbers.
        prompts: P.

    Returns:
        Keys (P,), int64.

    Raises:
        EstimateError: not one whole number per prompt.

    Example:
        >>> check_keys(None, 3)
        array([0, 1, 2])
    """
    if keys is None:
        return np.arange(prompts)
    names = np.asarray(keys)
    if names.shape != (prompts,) or names.dtype.kind not in "iu":
        raise EstimateError(f"keys must be {prompts} whole numbers, one per prompt; got shape {names.shape}.")
    return names.astype(np.int64)


def check_clusters(clusters: ArrayLike, prompts: int) -> tuple[NDArray[np.int64], int]:
    """Number the clusters 0, 1, ... in the order of their first appearance.

    Args:
        clusters: one label per prompt (P,).
        prompts: P.

    Returns:
        The cluster of each prompt (P,), and the number of clusters.

    Raises:
        EstimateError: not one label per prompt, or a label is missing (None or NaN).

    Example:
        >>> numbers, count = check_clusters(["b", "a", "b"], 3)
        >>> numbers.tolist(), count
        ([0, 1, 0], 2)
    """
    labels = np.asarray(clusters)
    if labels.shape != (prompts,):
        raise EstimateError(f"clusters must be {prompts} labels, one per prompt; got shape {labels.shape}.")
    missing = np.array([label is None or label != label for label in labels.tolist()], dtype=bool)
    if missing.any():
        raise EstimateError(
            f"Row {int(np.argmax(missing))} has no cluster ({int(missing.sum())} such rows): give every prompt one, "
            "a prompt that is independent of all others a label of its own."
        )
    number: dict[object, int] = {}
    unit = np.array([number.setdefault(label, len(number)) for label in labels.tolist()], dtype=np.int64)
    return unit, len(number)


def sample_counts(scores: Array) -> NDArray[np.int64]:
    """Number of samples of each prompt (P,), from scores (P, M)."""
    return np.asarray(np.sum(~np.isnan(scores), axis=1), dtype=np.int64)


def enough_samples(scores: Array) -> np.ndarray:
    """Which prompts (P,) take part in an estimate: those with at least 16 samples, or all if no prompt has as many.

    Example:
        >>> enough_samples(np.zeros((2, 16))).tolist()
        [True, True]
    """
    enough = sample_counts(scores) >= FEWEST_SAMPLES
    return enough if enough.any() else np.ones(len(scores), dtype=np.bool_)


def unit_of(scores: Array) -> float:
    """A power of two by which scores are divided before they are squared.

    It is 1 unless scores differ by more than 2^64 or by less than 2^-64 (1e150 squared overflows, and 1e-170 squared
    is 0). Dividing by a power of two is exact.

    Args:
        scores: (P, M).

    Returns:
        The unit, in units of the scores.

    Example:
        >>> unit_of(np.array([[0.0, 1.0]])), unit_of(np.array([[0.0, 1e150]])) > 1e149
        (1.0, True)
    """
    lowest, highest = np.nanmin(scores, axis=1), np.nanmax(scores, axis=1)
    with np.errstate(over="ignore"):
        exponent = np.frexp(np.max(highest / 2 - lowest / 2))[1] + 1
    return 1.0 if abs(exponent) <= 64 else float(2.0 ** min(exponent, 1000))


def prompt_means(scores: Array) -> Array:
    """Mean of each prompt's samples (P,), from scores (P, M); exactly the common value where all are equal.

    Example:
        >>> prompt_means(np.array([[1.0, 2.0], [0.1, np.nan]])).tolist()
        [1.5, 0.1]
    """
    lowest, highest = np.nanmin(scores, axis=1), np.nanmax(scores, axis=1)
    return np.asarray(np.clip(np.nanmean(scores, axis=1), lowest, highest))


def centre(scores: Array) -> Array:
    """Scores (P, M) minus the mean of their prompt; NaN stays NaN.

    Example:
        >>> centre(np.array([[1.0, 2.0]])).tolist()
        [[-0.5, 0.5]]
    """
    return scores - prompt_means(scores)[:, None]


def within_prompt_sd(scores: Array) -> float:
    """Pooled within-prompt standard deviation, sqrt(sum of squares / sum of (m - 1)).

    A prompt whose scores are all the same number contributes exactly 0, whatever the rounding of its mean.

    Args:
        scores: (P, M); NaN marks a missing sample.

    Returns:
        The standard deviation, in units of the scores; 0 if every prompt is constant.

    Example:
        >>> round(within_prompt_sd(np.array([[0.0, 2.0], [5.0, 7.0]])), 3)
        1.414
    """
    spread = np.nanmax(scores, axis=1) > np.nanmin(scores, axis=1)
    if not spread.any():
        return 0.0
    unit = unit_of(scores)
    squares = np.nansum((centre(scores)[spread] / unit) ** 2)
    freedom = np.sum(np.maximum(sample_counts(scores) - 1, 0))
    return float(unit * np.sqrt(squares / freedom))


def splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 finaliser: counter-based, so a split depends on (seed, key, rank) and nothing else."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def split_labels(counts: NDArray[np.int64], width: int, keys: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The random quarter of each rank. All splits are equally likely.

    Args:
        counts: samples of each prompt (P,).
        width: M, the number of columns.
        keys: integers that name the prompts (P,). A split depends on seed, key and rank alone.
        seed: of the split.

    Returns:
        Quarter 0 to 3 of each rank j < counts[x], and -1 beyond; (P, width).

    Example:
        >>> labels = split_labels(np.array([8]), 10, np.array([0]), 0)
        >>> np.bincount(labels[labels >= 0]).tolist(), labels[0, 8:].tolist()
        ([2, 2, 2, 2], [-1, -1])
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    rows = splitmix(keys.astype(np.uint64) * golden + np.uint64(seed % 2**63) + golden)
    draws = splitmix(rows[:, None] + golden * np.arange(1, width + 1, dtype=np.uint64)[None, :])
    draws[np.arange(width)[None, :] >= counts[:, None]] = np.iinfo(np.uint64).max
    place = np.empty((len(counts), width), dtype=np.int64)
    np.put_along_axis(place, np.argsort(draws, axis=1, kind="stable"), np.arange(width)[None, :], axis=1)
    labels = (QUARTERS * place) // np.maximum(counts, 1)[:, None]
    return np.where(np.arange(width)[None, :] < counts[:, None], labels, -1)

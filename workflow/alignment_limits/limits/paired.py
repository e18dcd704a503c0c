"""Means and limits over the prompts that a row is about: those with a value, resampled with all the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alignment_limits.limits.arrays import Array, enough_samples
from alignment_limits.limits.bootstrap import PromptBootstrap, student_quantile
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.diagnostics import AVERAGE_SHARE

UNLIKE = 2  # times as many samples of one prompt as of another


def mean_of(values: Array) -> Array:
    """Mean over the prompts that have a value, (P, K) -> (K,); NaN where none has."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan))


def interval(
    boot: PromptBootstrap, above: Array, below: Array | None = None, support: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Interval of the mean of `above` (P, K) over the prompts that have a value, or of mean(above) / mean(below).

    All prompts are resampled, so a replicate has more or fewer of those with a value: a ratio of two means. NaN where
    fewer than two have one. support : least and largest value (K,) that a prompt may have, where known.
    """
    known = np.isfinite(above) if below is None else np.isfinite(above) & np.isfinite(below)
    if known.all():
        return boot.interval(above, support) if below is None else boot.ratio(above, below, support)
    filled = np.where(known, 1.0 if below is None else below, 0.0)
    low, high = boot.ratio(np.where(known, above, 0.0), filled, support)
    few = known.sum(axis=0) < 2
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def interval_of_unlike(boot: PromptBootstrap, values: Array, counts: np.ndarray) -> tuple[Array, Array]:
    """As `interval` of a mean, and no shorter on either side than Student's where prompts differ in their samples.

    Prompts with few samples carry most of the spread then, and replicates take a lopsided draw of their errors for a
    skewed law: the gain of best-of-2 where 64 prompts have 2 to 200 samples covered in 92 %, and does in 97 %.

    Args:
        values: (P, K), NaN where a prompt has none.
        counts: (P,) samples of each prompt.
    """
    low, high = interval(boot, values)
    if counts.max() < UNLIKE * counts.min():
        return low, high
    mean, known = mean_of(values), np.isfinite(values)
    away = boot.sums(np.where(known, values - mean, 0.0))
    units = boot.units
    error = np.sqrt((away**2).sum(axis=0) * units / max(units - 1, 1)) / np.maximum(known.sum(axis=0), 1)
    reach = student_quantile(boot.level, units - 1) * error
    return np.minimum(low, mean - reach), np.maximum(high, mean + reach)


@dataclass(frozen=True)
class Part:
    """Points of the curve for the settings (columns) that concern the same prompts (P,) bool."""

    prompts: np.ndarray
    columns: np.ndarray
    points: CurvePoints


def read_curves(
    scores: Array, carried: Sequence[Array], kl: Array, *, budget: str, seed: int, keys: np.ndarray | None
) -> list[Part]:
    """The curve of `scores` at the KL (P, N) that each setting spends, NaN where a prompt is not in its row."""
    names = np.arange(len(scores)) if keys is None else np.asarray(keys)
    parts = []
    for prompts, columns in _alike(np.isfinite(kl)):
        spent = kl[np.ix_(prompts, columns)]
        curve = CorrectedCurve(
            scores[prompts], [c[prompts] for c in carried], budget=budget, seed=seed, keys=names[prompts]
        )
        parts.append(Part(prompts, columns, curve.at(spent if budget == "per-prompt" else spent.mean(axis=0))))
    return parts


def _alike(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns of rows (P, N) bool that are equal, with what they are; not those without any prompt."""
    packed = np.packbits(rows, axis=0).T
    groups: dict[bytes, list[int]] = {}
    for column, bits in enumerate(packed):
        if rows[:, column].any():
            groups.setdefault(bits.tobytes(), []).append(column)
    for columns in groups.values():
        yield rows[:, columns[0]], np.array(columns)


def paired_limit(points: CurvePoints, kl: Array, budget: str) -> Array:
    """Per-prompt contributions (P, N) to the limit at the method's KL; resampled, they move with that KL too.

    Under the average budget a replicate's KL differs from the one the curve was read at; the slope carries it over.
    """
    values = points.values[..., 0]
    if budget == "per-prompt":
        return values
    return values + points.slope[:, 0] * (kl - kl.mean(axis=0))


def limits_of(parts: Sequence[Part], kl: Array, budget: str) -> Array:
    """The same for settings that concern different prompts, NaN where a prompt is not in a row."""
    out = np.full(kl.shape, np.nan)
    for part in parts:
        place = np.ix_(part.prompts, part.columns)
        out[place] = paired_limit(part.points, kl[place], budget)
    return out


def carried_gain(parts: Sequence[Part], index: int, shape: tuple[int, int]) -> Array:
    """Mean gain (N,) of the carried reward `index` (0 the optimized one) at each setting."""
    out = np.full(shape[1], np.nan)
    for part in parts:
        out[part.columns] = part.points.values[..., index].mean(axis=0)
    return out


def judge_limits(parts: Sequence[Part], scores: Array, width: Array, clusters: int | None) -> np.ndarray:
    """Why the limit of each setting is not reliable, "" where it is (N,); width : of its interval."""
    out = np.full(len(width), "no prompt has samples enough", dtype=object)
    for part in parts:
        out[part.columns] = judge_points(
            scores[part.prompts], part.points, width[part.columns], clusters=clusters
        ).reason
    return out


def judge_shares(parts: Sequence[Part], scores: Array, settings: int, clusters: int | None) -> np.ndarray:
    """Why too few prompts carry a share of the average limit at each setting, "" where enough do (settings,)."""
    out = np.full(settings, "", dtype=object)
    for part in parts:
        enough = enough_samples(scores[part.prompts])
        units = enough.sum() if clusters is None else clusters * enough.mean()
        out[part.columns] = AVERAGE_SHARE.missing(part.points.share[enough], float(units))
    return out

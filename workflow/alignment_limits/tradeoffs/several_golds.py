"""Several golds at once: the Pareto front of their gains at each KL, by the tilt and by best-of-n.

Within a KL budget the gains (g_1 ... g_k) that policies can reach form a convex set. Its upper border is where a
weighted sum w·g is largest for some weights w ≥ 0, and that policy is the tilt by the weighted reward w·r. So each
point of the front is a row of `frontier`: optimise w·r, evaluate every gold. See docs/theory.md, "Several golds".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Counts,
    Flags,
    Words,
    centre,
    check_evaluated,
    check_scores,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns, corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.frontier import FrontierTable, frontier
from alignment_limits.limits.means import Mean, interval_of_unlike, judge_means, mean_of
from alignment_limits.limits.ranks import best_of_n_means

MOST_GOLDS = 4
STEPS = {2: 10, 3: 6, 4: 4}  # of the grid of weights: 11, 28 and 35 points
COMBINED = "weighted sum"
EITHER = "any"  # budget of best-of-n, which spends the same KL on every prompt


@dataclass(frozen=True, repr=False)
class FrontTable(Columns):
    """Gains of several golds under one weighting after the other, as equal 1-D arrays.

    Attributes:
        method: "tilt" or "best-of-n", by the weighted sum of the golds.
        budget: "average" or "per-prompt" of the tilt, "any" of best-of-n.
        point: number of the weighting.
        weights: of all golds, as text in their order, such as "0.25, 0.75".
        evaluated: the gold, or "weighted sum".
        weight: of this gold; 1 of the weighted sum.
        n: draws of best-of-n; NaN of the tilt.
        kl: nats per sequence, mean over prompts.
        gain: E_π v − E_{π₀} v in units of the gold. Of the weighted sum under the tilt it is the largest possible.
        at_least: a lower confidence bound of the weighted sum's limit that holds for any tail; NaN of golds.
        reliable, reason: the verdict on the gain, and why it is not reliable ("" if it is).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("kl", "gain")

    method: Words
    budget: Words
    point: Counts
    weights: Words
    evaluated: Words
    weight: Array
    n: Array
    kl: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    at_least: Array
    reliable: Flags
    reason: Words


def simplex(count: int, steps: int) -> Array:
    """All weights of `count` golds that are multiples of 1/steps and sum to 1.

    Args:
        count: number of golds.
        steps: number of steps from 0 to 1.

    Returns:
        (points, count), the first gold's weight falling.

    Example:
        >>> simplex(2, 2).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    bars = combinations(range(steps + count - 1), count - 1)
    points = [np.diff([-1, *bar, steps + count - 1]) - 1 for bar in bars]
    return np.array(sorted(map(tuple, points), reverse=True), dtype=np.float64) / steps


def check_golds(golds: Mapping[str, ArrayLike], most: int | None = MOST_GOLDS) -> dict[str, Array]:
    """Golds by name, checked to be 2 to `most` and to have scores for the same samples.

    Raises:
        EstimateError: one gold or too many, or scores that differ in shape or in missing samples.
    """
    if len(golds) < 2 or (most is not None and len(golds) > most):
        raise EstimateError(f"Give 2 to {most or 'several'} golds, not {len(golds)} ({', '.join(golds)}).")
    first = next(iter(golds))
    return check_evaluated(check_scores(golds[first], first), golds)


def check_weights(weights: ArrayLike | None, count: int, steps: int | None = None) -> Array:
    """Weights (points, golds) scaled to sum 1; default: the grid of `simplex`.

    Raises:
        EstimateError: another number of columns, a negative weight, or a row of zeros.
    """
    if weights is None:
        return simplex(count, STEPS[count] if steps is None else steps)
    array = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if array.ndim != 2 or array.shape[1] != count:
        raise EstimateError(f"Weights have shape {array.shape}; expected (points, {count}), one for each gold.")
    bad = ~(np.isfinite(array).all(axis=1) & (array >= 0).all(axis=1) & (array.sum(axis=1) > 0))
    if bad.any():
        raise EstimateError(
            f"Weights {array[bad][0].tolist()} (row {int(np.argmax(bad))}) must be at least 0, and one above 0. To "
            "keep a reward low, give its negative as a gold, or use `constrained_limit`."
        )
    return array / array.sum(axis=1, keepdims=True)


def weighted(golds: Mapping[str, Array], weights: Sequence[float] | Array) -> Array:
    """The weighted sum of golds (P, M). Golds of weight 0 are left out, so that one gold alone keeps its digits."""
    parts = [gold if w == 1 else w * gold for gold, w in zip(golds.values(), weights, strict=True) if w]
    return np.asarray(sum(parts[1:], parts[0]))


def pareto_front(
    golds: Mapping[str, ArrayLike],
    kls: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    ns: ArrayLike = (),
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> FrontTable:
    """Gains of 2 to 4 golds on the Pareto front at each KL, and of best-of-n by each weighted sum.

    A gain of one gold is larger at another point of the same KL only if another gold's is smaller.

    Args:
        golds: scores by name, each (prompts, samples) of the same base samples. Their units set what a weight means;
            divide each by its spread first if they differ.
        kls: budgets in nats.
        weights: (points, golds), scaled to sum 1; default: a grid of 11, 28 or 35 points for 2, 3 or 4 golds.
        ns: draws of best-of-n by each weighted sum.
        budget, replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each method, KL or n, weighting and gold, and one for the weighted sum.

    Raises:
        EstimateError: scores or weights that cannot be used.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> golds = {"helpful": rng.normal(size=(200, 64)), "harmless": rng.normal(size=(200, 64))}
        >>> front = pareto_front(golds, [0.5], weights=[[1, 0], [1, 1]])
        >>> front.gain[3:5].round(1)  # with equal weights: √(2 KL) w / |w| of independent normal rewards
        array([0.7, 0.7])

    References:
        docs/theory.md, "Several golds".
    """
    scores = check_golds(golds)
    points = check_weights(weights, len(scores))
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level, "keys": keys, "clusters": clusters}
    boot = PromptBootstrap(len(next(iter(scores.values()))), **draws)
    parts = []
    for number, w in enumerate(points):
        combined = weighted(scores, w)
        tables = frontier(combined, {**scores, COMBINED: combined}, kls=kls, budget=budget, **draws)
        labels = {"point": number, "weights": ", ".join(f"{each:.4g}" for each in w)}
        shares = dict(zip(scores, w, strict=True)) | {COMBINED: 1.0}
        parts += [_tilted(table, name, budget, shares[name], labels) for name, table in tables.items()]
        if np.size(ns):
            n = check_ns(ns, combined)
            kl = mean_of(corrected_kl(combined, n, seed=seed, keys=keys)[0])
            for name, scored in {**scores, COMBINED: combined}.items():
                picks = _picked(combined, scored, n, boot)
                parts.append(picks | _labels(len(n), name, shares[name], labels) | {"kl": kl, "n": n.astype(float)})
    return FrontTable(**{name: np.concatenate([part[name] for part in parts]) for name in FrontTable.names()})


def _labels(count: int, name: str, weight: float, labels: Mapping[str, Any]) -> dict[str, np.ndarray]:
    words = {key: np.full(count, value, dtype=object) for key, value in {"evaluated": name, **labels}.items()}
    return words | {"point": np.full(count, labels["point"]), "weight": np.full(count, weight)}


def _tilted(
    table: FrontierTable, name: str, budget: str, weight: float, labels: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Rows of the tilt."""
    least = table.at_least if name == COMBINED else np.full(len(table), np.nan)
    return _labels(len(table), name, weight, labels) | {
        "method": np.full(len(table), "tilt", dtype=object), "budget": np.full(len(table), budget, dtype=object),
        "n": np.full(len(table), np.nan), "kl": table.kl, "gain": table.gain, "gain_low": table.gain_low,
        "gain_high": table.gain_high, "at_least": least, "reliable": table.gain_reliable, "reason": table.gain_reason,
    }  # fmt: skip


def _picked(selecting: Array, scored: Array, n: np.ndarray, boot: PromptBootstrap) -> dict[str, np.ndarray]:
    """Rows of best-of-n: gain, interval and verdict."""
    counts = np.sum(~np.isnan(selecting), axis=1)
    gains = np.where(n == 1, 0.0, best_of_n_means(selecting, centre(scored), n))
    gains = np.where(counts[:, None] >= n, gains, np.nan)
    low, high = interval_of_unlike(boot, gains, counts)
    mean = Mean("gain", gains, np.zeros(gains.shape), high - low)
    own = np.array_equal(selecting, scored, equal_nan=True)
    reason = judge_means(mean, scored, n.astype(np.float64), np.ones(len(n), dtype=bool), boot, own=own)
    return {
        "method": np.full(len(n), "best-of-n", dtype=object), "budget": np.full(len(n), EITHER, dtype=object),
        "gain": mean_of(gains), "gain_low": low, "gain_high": high, "at_least": np.full(len(n), np.nan),
        "reliable": reason == "", "reason": reason,
    }  # fmt: skip

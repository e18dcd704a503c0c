"""Best-of-n from base samples: gain, KL, win rate, and how close it comes to the limit at the same KL.

Gain is the average over every n-subset of a prompt's M samples of v at the subset's best r (unbiased for n
<= M): sample of rank i (ascending in r) is best in C(i-1, n-1) of C(M, n) subsets; ties share their ranks'
weights equally.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, centre, check_evaluated, check_scores
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.ranks import best_of_n_kl, best_of_n_weights, kl_bound, win_rates

SAMPLES_PER_DRAW = 16  # claims against the limit need M >= 16 n: below it the two share too many samples


@dataclass(frozen=True)
class BestOfNTable:
    """One row per n, equal 1-D arrays. gain, win_rate and limit are of the evaluated reward.

    kl : tie-aware KL (nats, mean over prompts); kl_bound : log n - (n-1)/n. limit : corrected limit of the
    evaluated reward (its own tilt) at this kl and budget convention; tilt_gain : its gain when tilting by
    the selecting reward at this kl; efficiency = gain / limit. win_rate : P(pick beats a fresh base sample)
    + P(tie)/2, NaN at n = M.
    """

    method: np.ndarray
    budget: np.ndarray
    n: np.ndarray
    kl: Array
    kl_low: Array
    kl_high: Array
    kl_bound: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    win_rate: Array
    win_rate_low: Array
    win_rate_high: Array
    tilt_gain: Array
    limit: Array
    efficiency: Array
    efficiency_low: Array
    efficiency_high: Array
    reliable: np.ndarray
    reason: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Columns by name, in the order of the contract."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def best_of_n(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike],
    *,
    ns: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
) -> dict[str, BestOfNTable]:
    """Best-of-n selected by `optimized`, for every n in `ns` and every evaluated reward.

    Parameters
    ----------
    optimized : (P, M) scores that select, NaN = no such sample. evaluated : name -> scores of the same
        samples.
    ns : integers from 1 to the smallest number of samples any prompt has.
    budget : convention of `limit`. "average": the limit at the mean KL best-of-n spends. "per-prompt": each
        prompt is given the KL that best-of-n spends on it (equal over prompts unless scores tie).
    replicates, seed, level, keys : as for `frontier`; gain and limit are resampled together, so efficiency
        intervals are paired.

    Raises
    ------
    EstimateError : unusable scores, or an n outside 1..M.
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    n = check_ns(ns, scores)
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level)
    kl = best_of_n_kl(scores, n)
    weights = best_of_n_weights(scores, n)
    spent = kl if budget == "per-prompt" else kl.mean(axis=0)
    chosen = CorrectedCurve(scores, list(others.values()), budget=budget, seed=seed, keys=keys).at(spent)
    kl_low, kl_high = boot.interval(kl)
    tables = {}
    for index, (name, scored) in enumerate(others.items()):
        same = np.array_equal(scored, scores, equal_nan=True)
        curve = CorrectedCurve(scored, budget=budget, seed=seed, keys=keys)
        ideal = chosen if same else curve.at(spent)
        gain = np.einsum("pmn,pm->pn", weights, np.nan_to_num(centre(scored)))
        wins = win_rates(scores, scored, n)
        limit = paired_limit(ideal, kl, budget)
        gain_low, gain_high = boot.interval(gain)
        win_low, win_high = boot.interval(wins)
        low, high = boot.ratio(gain, limit)
        reliable, reason = _verdict(scored, ideal, n)
        mean_limit = limit.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            efficiency = np.where(mean_limit > 0, gain.mean(axis=0) / mean_limit, np.nan)
        tables[name] = BestOfNTable(
            method=np.full(len(n), "best-of-n", dtype=object),
            budget=np.full(len(n), budget, dtype=object),
            n=n,
            kl=kl.mean(axis=0),
            kl_low=kl_low,
            kl_high=kl_high,
            kl_bound=kl_bound(n),
            gain=gain.mean(axis=0),
            gain_low=gain_low,
            gain_high=gain_high,
            win_rate=wins.mean(axis=0),
            win_rate_low=win_low,
            win_rate_high=win_high,
            tilt_gain=chosen.values[..., 1 + index].mean(axis=0),
            limit=mean_limit,
            efficiency=efficiency,
            efficiency_low=low,
            efficiency_high=high,
            reliable=reliable,
            reason=reason,
        )
    return tables


def check_ns(ns: ArrayLike, scores: Array) -> np.ndarray:
    """Return ns as int64 (N,); every n must lie between 1 and the samples of the shortest prompt."""
    given = np.atleast_1d(np.asarray(ns, dtype=np.float64))
    n = given.astype(np.int64)
    counts = np.sum(~np.isnan(scores), axis=1)
    fewest = int(counts.min())
    if given.ndim != 1 or np.any(n != given) or np.any(n < 1):
        raise EstimateError(f"n of best-of-n must be whole numbers from 1; got {ns!r}.")
    if np.any(n > fewest):
        raise EstimateError(
            f"best-of-{int(n.max())}: row {int(np.argmin(counts))} has {fewest} samples only. "
            "Leave such n out, or draw more samples."
        )
    return n


def paired_limit(points: CurvePoints, kl: Array, budget: str) -> Array:
    """Per-prompt contributions (P, N) to the limit at best-of-n's KL; resampled, they move with that KL too.

    Under the average budget a replicate's KL differs from the one the curve was read at; the slope carries
    it over.
    """
    values = points.values[..., 0]
    if budget == "per-prompt":
        return values
    return values + points.slope[:, 0] * (kl - kl.mean(axis=0))


def _verdict(scored: Array, ideal: CurvePoints, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    samples = int(np.median(np.sum(~np.isnan(scored), axis=1)))
    own = [
        "" if samples >= SAMPLES_PER_DRAW * each else f"{samples} samples per prompt for n = {each} (needs 16 n)"
        for each in n
    ]
    reason = np.array([a or b for a, b in zip(judge_points(scored, ideal).reason, own, strict=True)], dtype=object)
    return reason == "", reason

"""What every way of choosing among base samples is measured by: its KL, gain, win rate and share of the limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from alignment_limits.limits.arrays import Array
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points

SAMPLES_PER_DRAW = 16  # claims against the limit need M >= 16 n: below it the two share too many samples


@dataclass(frozen=True)
class BestOfNTable:
    """One row per setting of a method, equal 1-D arrays. gain, win_rate and limit are of the evaluated reward.

    n : draws (their mean for best-of-Poisson, NaN for chi2). temperature : of soft best-of-n, beta of chi2, else NaN.
    kl_sequence : the per-sequence KL estimate of 2401.01879, NaN unless log-probs were given.
    kl : tie-aware KL (nats, mean over prompts); kl_bound : log n - (n-1)/n. limit : corrected limit of the
    evaluated reward (its own tilt) at this kl and budget convention; tilt_gain : its gain when tilting by
    the selecting reward at this kl; efficiency = gain / limit. win_rate : P(pick beats a fresh base sample)
    + P(tie)/2, NaN at n = M.
    """

    method: np.ndarray
    budget: np.ndarray
    n: np.ndarray
    temperature: Array
    kl: Array
    kl_low: Array
    kl_high: Array
    kl_bound: Array
    kl_sequence: Array
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


@dataclass(frozen=True)
class Choice:
    """Methods at N settings: kl (P, N); gains and wins (P, N) of each evaluated reward.

    method, n, temperature, kl_bound, kl_sequence : (N,), as in BestOfNTable. largest_ratio : (N,) largest density
    ratio to the base law (n for best-of-n), which says how few samples carry the choice.
    """

    method: np.ndarray
    n: np.ndarray
    temperature: Array
    kl: Array
    kl_bound: Array
    kl_sequence: Array
    largest_ratio: Array
    gains: Mapping[str, Array]
    wins: Mapping[str, Array]


def join(choices: Sequence[Choice]) -> Choice:
    """Several methods as one, so that limits and replicates are computed once for all."""

    def joined(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], Mapping):
            return {name: joined([part[name] for part in parts]) for name in parts[0]}
        return np.concatenate(parts, axis=-1)

    return Choice(**{field.name: joined([getattr(each, field.name) for each in choices]) for field in fields(Choice)})


def compare(
    choice: Choice,
    scores: Array,
    others: Mapping[str, Array],
    *,
    budget: str,
    replicates: int,
    seed: int,
    level: float = 0.95,
    keys: np.ndarray | None = None,
) -> dict[str, BestOfNTable]:
    """Tables of one method, chosen by `scores` (P, M), for every evaluated reward; gain and limit paired."""
    count = len(choice.n)
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level)
    kl = choice.kl
    spent = kl if budget == "per-prompt" else kl.mean(axis=0)
    chosen = CorrectedCurve(scores, list(others.values()), budget=budget, seed=seed, keys=keys).at(spent)
    kl_low, kl_high = boot.interval(kl)
    tables = {}
    for index, (name, scored) in enumerate(others.items()):
        same = np.array_equal(scored, scores, equal_nan=True)
        ideal = chosen if same else CorrectedCurve(scored, budget=budget, seed=seed, keys=keys).at(spent)
        gain, wins = choice.gains[name], choice.wins[name]
        limit = paired_limit(ideal, kl, budget)
        gain_low, gain_high = boot.interval(gain)
        win_low, win_high = boot.interval(wins)
        low, high = boot.ratio(gain, limit)
        reliable, reason = _verdict(scored, ideal, choice)
        mean_limit = limit.mean(axis=0)
        safe = np.where(mean_limit > 0, mean_limit, np.nan)
        tables[name] = BestOfNTable(
            method=choice.method,
            budget=np.full(count, budget, dtype=object),
            n=choice.n,
            temperature=choice.temperature,
            kl=kl.mean(axis=0),
            kl_low=kl_low,
            kl_high=kl_high,
            kl_bound=choice.kl_bound,
            kl_sequence=choice.kl_sequence,
            gain=gain.mean(axis=0),
            gain_low=gain_low,
            gain_high=gain_high,
            win_rate=wins.mean(axis=0),
            win_rate_low=win_low,
            win_rate_high=win_high,
            tilt_gain=chosen.values[..., 1 + index].mean(axis=0),
            limit=mean_limit,
            efficiency=gain.mean(axis=0) / safe,
            efficiency_low=low,
            efficiency_high=high,
            reliable=reliable,
            reason=reason,
        )
    return tables


def paired_limit(points: CurvePoints, kl: Array, budget: str) -> Array:
    """Per-prompt contributions (P, N) to the limit at the method's KL; resampled, they move with that KL too.

    Under the average budget a replicate's KL differs from the one the curve was read at; the slope carries
    it over.
    """
    values = points.values[..., 0]
    if budget == "per-prompt":
        return values
    return values + points.slope[:, 0] * (kl - kl.mean(axis=0))


def _verdict(scored: Array, ideal: CurvePoints, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
    samples = int(np.median(np.sum(~np.isnan(scored), axis=1)))
    own = []
    for n, ratio in zip(choice.n, choice.largest_ratio, strict=True):
        what = f"a density ratio of {ratio:.1f} (needs 16 times that)" if np.isnan(n) else f"n = {n:g} (needs 16 n)"
        short = samples < SAMPLES_PER_DRAW * (ratio if np.isnan(n) else n)
        own.append(f"{samples} samples per prompt for {what}" if short else "")
    reason = np.array([a or b for a, b in zip(judge_points(scored, ideal).reason, own, strict=True)], dtype=object)
    return reason == "", reason

"""How an ensemble's cost falls with its size: observed regularised gap against what correlated errors predict ([L]).

With member errors (member - gold, centred per prompt) of variance sigma^2 and correlation rho, the mean of K members
errs with variance sigma^2 (rho + (1 - rho)/K); the gap is about that over 2 beta, and its floor rho sigma^2/(2 beta).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scales import AGGREGATORS, aggregate, check_members
from alignment_limits.ensembles.scores import Array, Columns, Counts, Flags, Words, centre, check_evaluated, unit_of
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, judge_own
from alignment_limits.limits.proxy_gap import gap_contributions, judge_gaps
from alignment_limits.limits.tilt import check_betas


@dataclass(frozen=True)
class MemberErrors:
    """Pooled within-prompt covariance (K, K) of member - gold; mean variance, mean correlation and its interval."""

    covariance: Array
    variance: float
    correlation: float
    correlation_low: float
    correlation_high: float


@dataclass(frozen=True, repr=False)
class EnsembleTable(Columns):
    """One row per aggregator, subset and beta; equal 1-D arrays.

    members : names joined by "+". k : their number. rho : mean error correlation of all members (NaN for one).
    gap, gap_low, gap_high : regularised gap of the ensemble's tilt against gold's, corrected. gap_predicted : from
    the subset's own error covariance (the mean ensemble; small errors). gap_floor : rho sigma^2 / (2 beta) as K grows.
    kl : of the ensemble's tilt at beta. gold_gain_at_kl : gold gain of the ensemble's tilt at the study's fixed KL
    (`at_kl`), comparable between ensembles. reliable : of the gap, as for `proxy_gap`, and so of the row;
    gold_gain_at_kl has a verdict of its own, as a limit at that KL. reason : "" where reliable.
    """

    shown = ("k", "gap")

    aggregator: Words
    members: Words
    k: Counts
    rho: Array
    beta: Array
    gap: Array
    gap_low: Array
    gap_high: Array
    gap_predicted: Array
    gap_floor: Array
    kl: Array
    at_kl: Array
    gold_gain_at_kl: Array
    gold_gain_at_kl_low: Array
    gold_gain_at_kl_high: Array
    reliable: Flags
    reason: Words
    gold_gain_at_kl_reliable: Flags
    gold_gain_at_kl_reason: Words


def member_errors(
    members: ArrayLike | Sequence[ArrayLike],
    gold: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> MemberErrors:
    """Variance and correlation of the errors of members (K, P, M) on gold (P, M), all on one scale.

    Correlation is the mean off-diagonal covariance over the mean variance; its interval by bootstrap over prompts.
    """
    scores = check_members(members)
    truth = check_evaluated(scores[0], {"gold": gold})["gold"]
    unit = max(unit_of(each) for each in (*scores, truth))
    scores, truth = scores / unit, truth / unit
    errors = np.nan_to_num(np.stack([centre(member - truth) for member in scores]))
    products = np.einsum("kpm,lpm->pkl", errors, errors)
    freedom = np.maximum(np.sum(~np.isnan(truth), axis=1) - 1, 0)
    with np.errstate(over="ignore", under="ignore"):
        covariance = unit**2 * products.sum(axis=0) / max(int(freedom.sum()), 1)
    count = len(scores)
    if count == 1:
        return MemberErrors(covariance, float(covariance[0, 0]), np.nan, np.nan, np.nan)
    trace = np.trace(products, axis1=1, axis2=2)
    off = (products.sum(axis=(1, 2)) - trace) / (count - 1)
    if trace.sum() == 0:
        return MemberErrors(covariance, 0.0, np.nan, np.nan, np.nan)
    boot = PromptBootstrap(len(truth), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    low, high = boot.ratio(off[:, None], trace[:, None])
    return MemberErrors(
        covariance, float(np.trace(covariance)) / count, float(off.sum() / trace.sum()), float(low[0]), float(high[0])
    )


def subsets(count: int, size: int, most: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """All subsets of `size` of `count` members if at most `most`, else that many distinct seeded ones."""
    if comb(count, size) <= most:
        return list(combinations(range(count), size))
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < most:
        chosen.add(tuple(sorted(int(i) for i in rng.choice(count, size, replace=False))))
    return sorted(chosen)


def study_ensembles(
    members: ArrayLike | Sequence[ArrayLike],
    gold: ArrayLike,
    *,
    betas: ArrayLike,
    at_kl: float,
    names: Sequence[str] | None = None,
    aggregators: Sequence[str] = AGGREGATORS,
    most_subsets: int = 20,
    coefficient: float = 1.0,
    temperature: float = 1.0,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> EnsembleTable:
    """Every size K over (up to `most_subsets`, seeded) subsets of members (K, P, M), for every aggregator.

    All rewards on one scale (standardisation.py). Single members appear once, as aggregator "mean": every
    aggregator leaves them as they are.
    """
    scores = check_members(members)
    truth = check_evaluated(scores[0], {"gold": gold})["gold"]
    unit = max(unit_of(each) for each in (*scores, truth))
    scores, truth, beta = scores / unit, truth / unit, check_betas(betas) / unit
    labels = [f"member{i}" for i in range(len(scores))] if names is None else list(names)
    if len(labels) != len(scores):
        raise EstimateError(f"{len(labels)} names for {len(scores)} members.")
    draws: dict[str, Any] = {
        "replicates": replicates, "seed": seed, "level": level, "keys": keys, "clusters": clusters
    }  # fmt: skip
    errors = member_errors(scores, truth, **draws)
    boot = PromptBootstrap(len(truth), **draws)
    rng = np.random.default_rng(seed)
    rows: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(EnsembleTable)}
    for size in range(1, len(scores) + 1):
        for subset in subsets(len(scores), size, most_subsets, rng):
            picked = list(subset)
            error_variance = float(errors.covariance[np.ix_(picked, picked)].mean())
            for aggregator in aggregators if size > 1 else aggregators[:1]:
                reward = aggregate(
                    scores[picked], aggregator, coefficient=coefficient * unit, temperature=temperature / unit
                )
                curve = CorrectedCurve(reward, [truth], seed=seed, keys=keys)
                parts = gap_contributions(reward, truth, beta, curve)
                points = curve.at(np.array([at_kl]))
                gold_at = points.values[:, 0, 1]
                low, high = boot.interval(parts.gap)
                gold_low, gold_high = boot.interval(gold_at[:, None])
                reason = judge_gaps(reward, truth, beta, parts, boot)
                at_kl_reason = judge_own(reward, points, boot).reason
                count = len(beta)
                values = {
                    "aggregator": np.full(count, aggregator if size > 1 else "mean", dtype=object),
                    "members": np.full(count, "+".join(labels[i] for i in picked), dtype=object),
                    "k": np.full(count, size),
                    "rho": np.full(count, errors.correlation),
                    "beta": unit * beta,
                    "gap": unit * parts.gap.mean(axis=0),
                    "gap_low": unit * low,
                    "gap_high": unit * high,
                    "gap_predicted": unit * error_variance / (2 * beta),
                    "gap_floor": unit * errors.correlation * errors.variance / (2 * beta),
                    "kl": parts.kl.mean(axis=0),
                    "at_kl": np.full(count, at_kl),
                    "gold_gain_at_kl": np.full(count, unit * gold_at.mean()),
                    "gold_gain_at_kl_low": np.full(count, unit * gold_low[0]),
                    "gold_gain_at_kl_high": np.full(count, unit * gold_high[0]),
                    "reliable": reason == "",
                    "reason": reason,
                    "gold_gain_at_kl_reliable": np.full(count, at_kl_reason[0] == ""),
                    "gold_gain_at_kl_reason": np.full(count, at_kl_reason[0], dtype=object),
                }
                for name, column in values.items():
                    rows[name].append(column)
    return EnsembleTable(**{name: np.concatenate(columns) for name, columns in rows.items()})

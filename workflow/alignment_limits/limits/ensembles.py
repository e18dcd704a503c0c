"""The gap of an ensemble against its size: as observed, and as predicted from correlated errors.

The members' errors (member - gold, centred per prompt) have variance sigma^2 and correlation rho. The error of the
mean of K members then has variance sigma^2 (rho + (1 - rho)/K). The gap is about this variance over 2 beta, and its
floor is rho sigma^2/(2 beta).
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
from alignment_limits.limits.bending import gold_at_kl
from alignment_limits.limits.bootstrap import PromptBootstrap, interval_at_beta
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.proxy_gap import gap_contributions, judge_gaps
from alignment_limits.limits.tilt import check_betas


@dataclass(frozen=True)
class MemberErrors:
    """Errors of K ensemble members: member − gold, centred per prompt, pooled over prompts.

    Attributes:
        covariance: (K, K).
        variance: mean of its diagonal.
        correlation, correlation_low, correlation_high: mean correlation of two members, and its interval.
    """

    covariance: Array
    variance: float
    correlation: float
    correlation_low: float
    correlation_high: float


@dataclass(frozen=True, repr=False)
class EnsembleTable(Columns):
    """One row for each aggregator, subset of members and temperature; equal 1-D arrays.

    Attributes:
        aggregator: how members are combined.
        members, k: their names joined by "+", and their number.
        rho: mean correlation of the errors of all members (NaN for one).
        beta: temperature.
        gap: regularised gap of the ensemble's tilt to gold's, corrected for finite samples.
        gap_predicted: from the subset's own error covariance (for the mean, and small errors).
        gap_floor: ρ σ²/(2β), the limit for many members.
        kl: of the ensemble's tilt at this temperature.
        gold_gain_at_kl, at_kl: gold's gain under the ensemble's tilt at one KL, comparable across ensembles.
        reliable, reason: of the gap, as for `proxy_gap`. `gold_gain_at_kl_*` has a verdict of its own.

    Intervals are `*_low` and `*_high`.
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
    """Variance and correlation of the errors of members (K, P, M) relative to gold (P, M), all on one scale.

    The correlation is the mean off-diagonal covariance over the mean variance, with a bootstrap interval over prompts.
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
    """All subsets with `size` of `count` members if there are at most `most`, else that many seeded ones."""
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
    """The gap of ensembles of every size to gold, for subsets of the members and every aggregator.

    Single members appear once, with the aggregator "mean", as every aggregator leaves them unchanged.

    Args:
        members: scores (members, prompts, samples), all on one scale (`standardise`).
        gold: scores (prompts, samples) on that scale.
        betas: positive temperatures.
        at_kl: the KL in nats at which gold's gain is compared.
        names: of the members.
        aggregators: of `AGGREGATORS`.
        most_subsets: maximum number of subsets of one size; if there are more, a seeded choice.
        coefficient, temperature: as for `aggregate`.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each aggregator, subset and temperature.

    Raises:
        EstimateError: members that do not score the same samples, or a setting that is impossible.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> gold = rng.normal(size=(200, 64))
        >>> members = [gold + 0.5 * rng.normal(size=gold.shape) for _ in range(2)]
        >>> table = study_ensembles(members, gold, betas=[2.0], at_kl=0.5, replicates=200)
        >>> [(row["aggregator"], row["k"], round(row["gap"], 3)) for row in table][1:4]
        [('mean', 1, 0.064), ('mean', 2, 0.032), ('median', 2, 0.032)]

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105; docs/theory.md, "Ensembles".
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
                low, high = interval_at_beta(boot, parts.gap, parts.left_gap)
                reason = judge_gaps(reward, truth, beta, parts, boot)
                gold_at, gold_low, gold_high, why = gold_at_kl(reward, truth, curve, at_kl, boot)
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
                    "gold_gain_at_kl_low": np.full(count, unit * gold_low),
                    "gold_gain_at_kl_high": np.full(count, unit * gold_high),
                    "reliable": reason == "",
                    "reason": reason,
                    "gold_gain_at_kl_reliable": np.full(count, why == ""),
                    "gold_gain_at_kl_reason": np.full(count, why, dtype=object),
                }
                for name, column in values.items():
                    rows[name].append(column)
    return EnsembleTable(**{name: np.concatenate(columns) for name, columns in rows.items()})

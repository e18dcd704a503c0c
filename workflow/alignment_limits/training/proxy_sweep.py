"""Proxies with few or many labels: the loss of gold that they cause, and how much ensembles of them help.

Members of an ensemble are linear heads on a share of the features. They can differ in their labels, in their features,
or in both. Single proxies read all features. All rewards are first standardised on the evaluated samples, as in all
analyses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import aggregate, standardise
from alignment_limits.limits.bending import gold_at_kl
from alignment_limits.limits.bootstrap import PromptBootstrap, interval_at_beta
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.ensembles import member_errors
from alignment_limits.limits.onset import hacking_onset, stopping_point
from alignment_limits.limits.proxy_gap import gap_contributions, judge_gaps, proxy_gap
from alignment_limits.limits.tilt import check_betas
from alignment_limits.rewards.heads import Array
from alignment_limits.training.proxies import fit_proxy

# what the members share → their seeds of labels and of features
SHARED = {
    "labels": lambda member: (0, member),
    "features": lambda member: (member, 0),
    "neither": lambda member: (member, member),
}


def fit_members(
    training: tuple[Array, Array, Any], features: Array, *, count: int, shared: str, **settings: Any
) -> list[Array]:
    """Standardised scores (P, M) of `count` members on evaluated features (P, M, d).

    Args:
        training: features [n, d], gold [n] and prompt [n] of held-out prompts.
        shared: 'labels', 'features' or 'neither'.
        settings: further arguments of `fit_proxy` (labels, noise, loss, dimensions).
    """
    out = []
    for member in range(count):
        seed, feature_seed = SHARED[shared](member)
        head = fit_proxy(*training, seed=seed, feature_seed=feature_seed, **settings)
        out.append(standardise(head(features), name=f"member {member}").scores)
    return out


def proxies(
    members: Mapping[int, Sequence[Array]],
    gold: Array,
    *,
    betas: Sequence[float],
    at_kl: float,
    replicates: int,
    seed: int,
    keys: Any,
    clusters: Any = None,
) -> pl.DataFrame:
    """Single proxies with few to many labels: error, gap at each β, gain of gold at a fixed KL.

    Args:
        members: number of labels → standardised scores (P, M) of the proxies trained on this number.
        gold: (P, M).
    """
    rows = []
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "keys": keys, "clusters": clusters}
    boot = PromptBootstrap(len(gold), **draws)
    for n, group in members.items():
        for member, proxy in enumerate(group):
            table = proxy_gap(proxy, gold, betas=betas, **draws)
            curve = CorrectedCurve(proxy, [gold], seed=seed, keys=keys)
            gold_at, _, _, why = gold_at_kl(proxy, gold, curve, at_kl, boot)
            frame = pl.DataFrame(
                {
                    **{
                        name: table.columns()[name] for name in ("beta", "error_variance", "gap", "gap_low", "gap_high")
                    },
                    "reliable": table.reliable,
                    "gap_predicted": table.error_variance / (2 * table.beta),
                }
            )
            rows.append(
                frame.with_columns(
                    labels=pl.lit(n),
                    member=pl.lit(member),
                    spearman=pl.lit(within_prompt_ranks(proxy, gold)),
                    gold_gain_at_kl=pl.lit(float(gold_at.mean())),
                    at_kl=pl.lit(float(at_kl)),
                    gold_gain_at_kl_reliable=pl.lit(why == ""),
                )
            )
    return pl.concat(rows)


def onsets(
    members: Mapping[int, Sequence[Array]], gold: Array, *, replicates: int, seed: int, keys: Any, clusters: Any = None
) -> pl.DataFrame:
    """KL at which gold peaks as each proxy is optimised more strongly: by the tilt (hacking onset) and by best-of-n.

    Args:
        members, gold: as for `proxies`.
    """
    rows = []
    common: dict[str, Any] = {"replicates": replicates, "seed": seed}
    for n, group in members.items():
        for member, proxy in enumerate(group):
            paths = {
                "tilt": hacking_onset(proxy, gold, keys=keys, **common),
                "best-of-n": stopping_point(proxy, gold, keys=keys, **common),
            }
            for path, onset in paths.items():
                found = asdict(onset)
                peak = {f"peak{end}": found.pop(name) for end, name in (("", "at"), ("_low", "low"), ("_high", "high"))}
                rows.append({"labels": n, "member": member, "path": path, **peak, **found})
    return pl.DataFrame(rows, infer_schema_length=None)


def ensembles(
    training: tuple[Array, Array, Any],
    features: Array,
    gold: Array,
    *,
    sizes: Sequence[int],
    aggregators: Sequence[str],
    betas: Sequence[float],
    at_kl: float,
    settings: Mapping[str, Any],
    replicates: int,
    seed: int,
    keys: Any,
    clusters: Any = None,
) -> pl.DataFrame:
    """Ensembles whose members share labels, features or neither: gap against size, and the prediction from ρ.

    There is one ensemble of the largest size. Smaller ensembles are disjoint subsets of its members, averaged.
    `saved` is the difference between the gap of single members (always among the sizes) and the ensemble's gap, paired
    by prompt.
    """
    rows = []
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "keys": keys, "clusters": clusters}
    boot = PromptBootstrap(len(gold), **draws)
    most, beta = max(sizes), check_betas(betas)
    for shared in SHARED:
        members = np.stack(fit_members(training, features, count=most, shared=shared, **settings))
        errors = member_errors(members, gold, **draws)
        alone: tuple[Array, Array] | None = None
        for size in sorted({1, *sizes}):
            groups = [members[i : i + size] for i in range(0, most - size + 1, size)]
            for aggregator in aggregators if size > 1 else ["mean"]:
                gaps, lefts, gained, refused, known = [], [], [], [], []
                for group in groups:
                    reward = aggregate(group, aggregator)
                    curve = CorrectedCurve(reward, [gold], seed=seed, keys=keys)
                    parts = gap_contributions(reward, gold, beta, curve)
                    gold_at, _, _, why = gold_at_kl(reward, gold, curve, at_kl, boot)
                    gaps.append(parts.gap)
                    lefts.append(parts.left_gap)
                    gained.append(gold_at)
                    refused.append(judge_gaps(reward, gold, beta, parts, boot) != "")
                    known.append(why == "")
                gap, left = np.mean(gaps, axis=0), np.mean(lefts, axis=0)
                alone = alone or (gap, left)
                low, high = interval_at_beta(boot, gap, left)
                saved = alone[0] - gap
                saved_low, saved_high = interval_at_beta(boot, saved, alone[1] - left)
                variance, rho = errors.variance, errors.correlation if most > 1 else 0.0
                left = variance * (rho + (1 - rho) / size)
                for i in range(len(beta)):
                    rows.append(
                        {
                            "shared": shared,
                            "aggregator": aggregator,
                            "k": size,
                            "beta": float(beta[i]),
                            "rho": errors.correlation,
                            "rho_low": errors.correlation_low,
                            "rho_high": errors.correlation_high,
                            "gap": float(gap[:, i].mean()),
                            "gap_low": float(low[i]),
                            "gap_high": float(high[i]),
                            "saved": float(saved[:, i].mean()),
                            "saved_low": float(saved_low[i]),
                            "saved_high": float(saved_high[i]),
                            "gap_predicted": left / (2 * beta[i]),
                            "gap_floor": rho * variance / (2 * beta[i]),
                            "reliable": not np.any(refused, axis=0)[i],
                            "gold_gain_at_kl": float(np.mean(gained)),
                            "at_kl": float(at_kl),
                            "gold_gain_at_kl_reliable": all(known),
                        }
                    )
    return pl.DataFrame(rows)


def within_prompt_ranks(proxy: Array, gold: Array) -> float:
    """Mean over prompts of Spearman's correlation of two (P, M) arrays; constant prompts are left out."""
    frame = pl.DataFrame(
        {
            "prompt": np.repeat(np.arange(len(gold)), gold.shape[1]),
            "proxy": proxy.ravel(),
            "gold": gold.ravel(),
        }
    ).filter(pl.col("gold").is_not_nan())
    each = frame.group_by("prompt").agg(rho=pl.corr("proxy", "gold", method="spearman"))["rho"]
    return float(each.fill_nan(None).mean() or 0.0)  # type: ignore[arg-type]

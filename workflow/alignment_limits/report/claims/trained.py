"""Verdicts on what is trained: a sweep over proxies, and policies that learn from preferences towards their target.

As in `claims.limits`, every rule compares 95% intervals, never point estimates, and is printed next to its verdict.
What ensembles save is an interval of differences on the same prompts.

Differences of policies are paired by seed, each with pairs of its own; intervals are over seeds, or with one seed over
prompts (widest that both intervals allow; exact distances have none). Only reliable distances count, and of each
objective's coefficients the one of least mean distance. [B] is "Beyond RLHF: A Unified
Theoretical Framework of Alignment" (arXiv 2506.01523); the thresholds are our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.preferences.rates import mean_interval
from alignment_limits.report.claims.learning import listed
from alignment_limits.report.claims.limits import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict, judge
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.study.objectives import in_order, named

_NONE = "no β where both are reliable"


def proxy_claims(proxies: pl.DataFrame, ensembles: pl.DataFrame) -> list[Verdict]:
    """All verdicts.

    Args:
        proxies: `limits/proxies.parquet`. ensembles: `limits/proxy_ensembles.parquet`.
    """
    return [error_costs(proxies), small_beta_costs(proxies), size_helps(ensembles), floor_is_predicted(ensembles)]


def error_costs(proxies: pl.DataFrame) -> Verdict:
    """A proxy of many labels loses less than one of few, at every β where both can be told."""
    few, many = int(proxies["labels"].min()), int(proxies["labels"].max())  # type: ignore[arg-type]
    pairs = []
    for beta in sorted(proxies["beta"].unique()):
        bad, good = (_median(proxies, n, beta) for n in (few, many))
        if bad["reliable"] and good["reliable"]:
            pairs.append((beta, bad, good))
    rule = (
        f"of the {few}-label and the {many:,}-label proxies, those of median error; holds if the interval of the "
        "first's gap lies above the second's at every β where both are reliable"
    )
    said = "; ".join(f"β = {b:g}: {_gap(x)} falls to {_gap(y)}" for b, x, y in pairs) or _NONE
    for_it, against = _compare([(x, y) for _, x, y in pairs])
    return Verdict("The cost of a proxy grows with its error", judge(for_it, against, len(pairs)), said, rule)


def small_beta_costs(proxies: pl.DataFrame) -> Verdict:
    """The same proxy loses more at its smallest reliable β than at its largest."""
    pairs = []
    for labels in sorted(proxies["labels"].unique()):
        rows = [_median(proxies, labels, beta) for beta in sorted(proxies["beta"].unique())]
        told = [row for row in rows if row["reliable"]]
        if len(told) > 1:
            pairs.append((labels, told[0], told[-1]))
    said = "; ".join(f"{n:,} labels: {_gap(y)} at β = {y['beta']:g}, {_gap(x)} at {x['beta']:g}" for n, x, y in pairs)
    rule = (
        "of each number of labels, the proxy of median error; holds if the interval of its gap at the smallest "
        "reliable β lies above that at the largest, for every number"
    )
    for_it, against = _compare([(x, y) for _, x, y in pairs])
    verdict = judge(for_it, against, len(pairs))
    return Verdict("The cost of a proxy grows as β falls", verdict, said or "fewer than two reliable β", rule)


def size_helps(ensembles: pl.DataFrame) -> Verdict:
    """The mean of the most members loses less than they do alone, whatever they share."""
    pairs = [(shared, one, all_) for shared, _, one, all_ in _ends(ensembles)]
    most = int(ensembles["k"].max())  # type: ignore[arg-type]
    said = "; ".join(
        f"share {s}, β = {x['beta']:g}: {_gap(x)} falls to {_gap(y)}, by {_with_interval(y, 'saved')}"
        for s, x, y in pairs
    )
    rule = (
        f"mean of {most} members against one, on the same prompts, at each reliable β and for what members share; "
        "holds if the intervals of all differences lie above 0"
    )
    for_it = sum(y["saved_low"] > 0 for _, _, y in pairs)
    against = sum(y["saved_high"] < 0 for _, _, y in pairs)
    return Verdict("Ensembles shrink the cost", judge(for_it, against, len(pairs)), said or _NONE, rule)


def floor_is_predicted(ensembles: pl.DataFrame) -> Verdict:
    """The gap of the largest mean ensemble is what its members' error variance and correlation predict."""
    cases = list(_ends(ensembles))
    inside = [row["gap_low"] <= row["gap_predicted"] <= row["gap_high"] for _, _, _, row in cases]
    said = "; ".join(
        f"share {s}, β = {row['beta']:g}: ρ = {number(row['rho'])}, predicted {number(row['gap_predicted'], 3)} "
        f"(floor {number(row['gap_floor'], 3)}), found {_gap(row)}"
        for s, _, _, row in cases
    )
    rule = (
        "mean of the most members, at each reliable β and for what members share: holds where the interval of its gap "
        "contains σ²(ρ + (1 − ρ)/K)/(2β), which is for small errors and gentle tilts"
    )
    verdict = judge(sum(inside), len(inside) - sum(inside), len(inside))
    return Verdict("What is left is set by the members' correlation", verdict, said or _NONE, rule)


def _ends(ensembles: pl.DataFrame) -> list[tuple[str, float, dict[str, Any], dict[str, Any]]]:
    """What is shared, β, the row of one member and that of the most, mean aggregator, where both are reliable."""
    mean = ensembles.filter(pl.col("aggregator") == "mean").sort("shared", "beta", "k")
    out = []
    for (shared, beta), part in mean.group_by(["shared", "beta"], maintain_order=True):
        one, most = part.row(0, named=True), part.row(-1, named=True)
        if one["reliable"] and most["reliable"]:
            out.append((str(shared), float(beta), one, most))
    return out


def _median(proxies: pl.DataFrame, labels: int, beta: float) -> dict[str, Any]:
    """The member of median error among those of so many labels."""
    rows = proxies.filter((pl.col("labels") == labels) & (pl.col("beta") == beta)).sort("error_variance", "member")
    return rows.row((rows.height - 1) // 2, named=True)


def _compare(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[int, int]:
    """How many pairs surely fall, how many surely rise."""
    fall = sum(x["gap_low"] > y["gap_high"] for x, y in pairs)
    return fall, sum(x["gap_high"] < y["gap_low"] for x, y in pairs)


def _gap(row: dict[str, Any]) -> str:
    return _with_interval(row, "gap")


def _with_interval(row: dict[str, Any], name: str) -> str:
    return interval(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]))


NEAR_TARGET = ("pmle", "distillation", "reverse-kl")  # that [B] says approach the target
LEVEL = -0.25  # a power of n above which a distance is called level; 1/n is −1


def target_claims(rows: pl.DataFrame) -> list[Verdict]:
    """All verdicts that the policies of a study can give.

    Args:
        rows: from `distances`, of one setting, `chosen`.
    """
    learned = rows.filter(
        pl.col("pairs").is_not_null() & (pl.col("quantity") == "forward_kl") & pl.col("reliable")
        & pl.col("value").is_finite()
    )  # fmt: skip
    base = rows.filter((pl.col("policy") == "base") & (pl.col("quantity") == "forward_kl"))["value"][0]
    found = set(learned["objective"])
    out = [nearer(learned, "reverse-kl", other) for other in ("dpo", "pmle") if {"reverse-kl", other} <= found]
    several = [o for o in in_order(NEAR_TARGET) if _sizes(learned, o)[1:]]
    out += [approach(learned, several, base)] if several else []
    if {"reverse-kl", "dpo"} <= found and _sizes(learned, "dpo", "reverse-kl")[1:]:
        out.append(levels_off(learned))
    return out


def nearer(rows: pl.DataFrame, a: str, b: str) -> Verdict:
    """Forward KL of a minus b's at each number of pairs."""
    found = {n: difference(rows, (a, n), (b, n)) for n in _sizes(rows, a, b)}
    sure, lost = [n for n, e in found.items() if e.high < 0], [n for n, e in found.items() if e.low > 0]
    text = "; ".join(f"n = {n:,}: {interval(e)}" for n, e in found.items())
    return Verdict(
        f"At equal pairs on-policy {named(a)} is nearer to the target than {named(b)}",
        judge(len(sure), len(lost), len(found)),
        f"KL(target‖policy), {named(a)} minus {named(b)}, in nats: {text}. Surely nearer at n = {listed(sure)}, surely "
        f"farther at n = {listed(lost)}.",
        "surely nearer at every n holds; at some, partly; at none and surely farther at one: does not",
    )


def approach(rows: pl.DataFrame, objectives: list[str], base: float) -> Verdict:
    """Forward KL at the most pairs minus that at the fewest, for each objective, and which power of n that is."""
    falls, rises, parts = 0, 0, []
    for objective in objectives:
        first, *_, last = _sizes(rows, objective)
        change = difference(rows, (objective, last), (objective, first))
        end = _mean(rows, objective, last)
        falls += change.high < 0 and end < base
        rises += change.low > 0
        parts.append(
            f"{named(objective)} {number(_mean(rows, objective, first))} at n = {first:,}, {number(end)} at {last:,} "
            f"(difference {interval(change)}, as n^{number(power(rows, objective, first, last).value)})"
        )
    text = "; ".join(parts)
    return Verdict(
        f"{', '.join(map(named, objectives))} approach the target as pairs grow",
        judge(falls, rises, len(objectives)),
        f"KL(target‖policy) in nats: {text}. The base is at {number(base)}.",
        "each surely nearer with most pairs than with fewest, and then nearer than the base, holds; some: partly",
    )


def levels_off(rows: pl.DataFrame) -> Verdict:
    """DPO beside reverse KL at the most pairs, and both powers of n over the last step."""
    *_, before, last = _sizes(rows, "dpo", "reverse-kl")
    ours, theirs = (power(rows, o, before, last) for o in ("reverse-kl", "dpo"))
    apart = difference(rows, ("dpo", last), ("reverse-kl", last))
    level, falling = theirs.low > LEVEL, ours.high < LEVEL
    verdict = FAILS if apart.high < 0 else UNKNOWN
    if apart.low > 0:
        verdict = HOLDS if level and falling else PARTLY
    return Verdict(
        "DPO levels off while reverse KL goes on towards the target",
        verdict,
        f"From n = {before:,} to {last:,} DPO's distance goes as n^{interval(theirs)}, reverse KL's as "
        f"n^{interval(ours)}; at n = {last:,} DPO is farther by {interval(apart)} nats.",
        f"DPO surely farther at the most pairs, its power surely above {number(LEVEL)} and reverse KL's surely below, "
        "holds; only farther, partly; surely nearer, does not",
    )


def difference(rows: pl.DataFrame, a: tuple[str, int], b: tuple[str, int]) -> Estimate:
    """Mean distance of (objective, pairs) a minus b's, paired by seed."""
    both = _paired(rows, a, b)
    if both.height == 1:
        row = both.row(0, named=True)
        left, right = (_estimate(row, side) for side in ("", "_b"))
        return left - right
    return Estimate(*mean_interval((both["value"] - both["value_b"]).to_numpy()), True, "")


def power(rows: pl.DataFrame, objective: str, first: int, last: int) -> Estimate:
    """The power of n by which the distance goes between two numbers of pairs; of one seed without an interval."""
    both = _paired(rows, (objective, last), (objective, first)).filter((pl.col("value") > 0) & (pl.col("value_b") > 0))
    each = (both["value"] / both["value_b"]).log().to_numpy() / np.log(last / first)
    mean, low, high = mean_interval(each)
    return Estimate(mean, low, high, True, "") if each.size > 1 else Estimate(mean, mean, mean, True, "")


def _paired(rows: pl.DataFrame, a: tuple[str, int], b: tuple[str, int]) -> pl.DataFrame:
    left, right = (rows.filter((pl.col("objective") == o) & (pl.col("pairs") == n)) for o, n in (a, b))
    return left.join(right, on="seed", suffix="_b", nulls_equal=True)


def _mean(rows: pl.DataFrame, objective: str, n: int) -> float:
    return float(np.mean(rows.filter((pl.col("objective") == objective) & (pl.col("pairs") == n))["value"].to_numpy()))


def _sizes(rows: pl.DataFrame, *objectives: str) -> list[int]:
    """Numbers of pairs that all of these objectives have, in order."""
    each = [set(rows.filter(pl.col("objective") == o)["pairs"]) for o in objectives]
    return sorted(set.intersection(*each))


def _estimate(row: Mapping[str, Any], side: str) -> Estimate:
    return Estimate(row[f"value{side}"], row[f"low{side}"], row[f"high{side}"], True, "")

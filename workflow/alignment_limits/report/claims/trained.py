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

_NONE = "There is no β at which both are reliable."


def proxy_claims(proxies: pl.DataFrame, ensembles: pl.DataFrame) -> list[Verdict]:
    """All verdicts.

    Args:
        proxies: `limits/proxies.parquet`. ensembles: `limits/proxy_ensembles.parquet`.
    """
    return [error_costs(proxies), small_beta_costs(proxies), size_helps(ensembles), floor_is_predicted(ensembles)]


def error_costs(proxies: pl.DataFrame) -> Verdict:
    """A proxy of many labels loses less than one of few, at every β where both are reliable."""
    few, many = int(proxies["labels"].min()), int(proxies["labels"].max())  # type: ignore[arg-type]
    pairs = []
    for beta in sorted(proxies["beta"].unique()):
        bad, good = (_median(proxies, n, beta) for n in (few, many))
        if bad["reliable"] and good["reliable"]:
            pairs.append((beta, bad, good))
    rule = (
        f"The proxies of median error with {few} and with {many:,} labels are compared. The claim holds if the "
        "interval of the first one's cost is above the second one's at every β where both are reliable"
    )
    cases = tuple(f"β = {b:g}: {_gap(x)} with {few} labels, {_gap(y)} with {many:,}" for b, x, y in pairs)
    for_it, against = _compare([(x, y) for _, x, y in pairs])
    return Verdict(
        "The cost of a proxy grows with its error",
        judge(for_it, against, len(pairs)),
        f"The cost falls significantly with more labels at {for_it} of {len(pairs)} reliable β." if pairs else _NONE,
        rule,
        cases,
    )


def small_beta_costs(proxies: pl.DataFrame) -> Verdict:
    """The same proxy loses more at its smallest reliable β than at its largest."""
    pairs = []
    for labels in sorted(proxies["labels"].unique()):
        rows = [_median(proxies, labels, beta) for beta in sorted(proxies["beta"].unique())]
        reliable = [row for row in rows if row["reliable"]]
        if len(reliable) > 1:
            pairs.append((labels, reliable[0], reliable[-1]))
    cases = tuple(f"{n:,} labels: {_gap(y)} at β = {y['beta']:g}, {_gap(x)} at β = {x['beta']:g}" for n, x, y in pairs)
    rule = (
        "For each number of labels, the proxy of median error is taken. The claim holds if, for every number, the "
        "interval of its cost at the smallest reliable β is above that at the largest"
    )
    for_it, against = _compare([(x, y) for _, x, y in pairs])
    few = "Fewer than two β are reliable."
    return Verdict(
        "The cost of a proxy grows as β falls",
        judge(for_it, against, len(pairs)),
        f"The cost grows significantly for {for_it} of {len(pairs)} numbers of labels." if pairs else few,
        rule,
        cases,
    )


def size_helps(ensembles: pl.DataFrame) -> Verdict:
    """The mean of the largest number of members loses less than one member, whatever they share."""
    pairs = [(shared, one, all_) for shared, _, one, all_ in _ends(ensembles)]
    most = int(ensembles["k"].max())  # type: ignore[arg-type]
    cases = tuple(
        f"share {s}, β = {x['beta']:g}: {_gap(x)} with one member, {_gap(y)} with {most}, a saving of "
        f"{_with_interval(y, 'saved')}"
        for s, x, y in pairs
    )
    rule = (
        f"The mean of {most} members is compared with one member on the same prompts, at each reliable β and for "
        "everything that members may share. The claim holds if the intervals of all savings are above 0"
    )
    for_it = sum(y["saved_low"] > 0 for _, _, y in pairs)
    against = sum(y["saved_high"] < 0 for _, _, y in pairs)
    return Verdict(
        "Ensembles shrink the cost",
        judge(for_it, against, len(pairs)),
        f"The saving is significant in {for_it} of {len(pairs)} comparisons." if pairs else _NONE,
        rule,
        cases,
    )


def floor_is_predicted(ensembles: pl.DataFrame) -> Verdict:
    """The gap of the largest mean ensemble is what its members' error variance and correlation predict."""
    cases = list(_ends(ensembles))
    inside = [row["gap_low"] <= row["gap_predicted"] <= row["gap_high"] for _, _, _, row in cases]
    listed_cases = tuple(
        f"share {s}, β = {row['beta']:g}: ρ = {number(row['rho'])}, predicted {number(row['gap_predicted'], 3)} "
        f"(floor {number(row['gap_floor'], 3)}), measured {_gap(row)}"
        for s, _, _, row in cases
    )
    rule = (
        "The mean of the largest number of members is taken, at each reliable β and for everything that members may "
        "share. The claim holds if the interval of its cost contains σ²(ρ + (1 − ρ)/K)/(2β), which is valid for small "
        "errors and weak tilts"
    )
    return Verdict(
        "The members' correlation sets the cost that is left",
        judge(sum(inside), len(inside) - sum(inside), len(inside)),
        f"The measured cost agrees with the prediction in {sum(inside)} of {len(inside)} cases." if cases else _NONE,
        rule,
        listed_cases,
    )


def _ends(ensembles: pl.DataFrame) -> list[tuple[str, float, dict[str, Any], dict[str, Any]]]:
    """What is shared, β, the rows of one member and of the largest number (mean), where both are reliable."""
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
    """How many pairs fall significantly, how many rise significantly."""
    fall = sum(x["gap_low"] > y["gap_high"] for x, y in pairs)
    return fall, sum(x["gap_high"] < y["gap_low"] for x, y in pairs)


def _gap(row: dict[str, Any]) -> str:
    return _with_interval(row, "gap")


def _with_interval(row: dict[str, Any], name: str) -> str:
    return interval(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]))


NEAR_TARGET = ("pmle", "distillation", "reverse-kl")  # that [B] says approach the target
LEVEL = -0.25  # a power of n above which a distance counts as level; 1/n is −1


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
    return Verdict(
        f"With equal pairs, on-policy {named(a)} is nearer to the target than {named(b)}",
        judge(len(sure), len(lost), len(found)),
        f"{named(a)} is significantly nearer at {listed(sure)}, and significantly farther at {listed(lost)}.",
        "The claim holds if the first is significantly nearer at every n, and partly if at some. It does not hold if "
        "it is nearer at none and significantly farther at one",
        tuple(f"n = {n:,}: difference of KL(target‖policy) {interval(e)} nats" for n, e in found.items()),
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
            f"{named(objective)}: {number(_mean(rows, objective, first))} nats at n = {first:,}, {number(end)} at n = "
            f"{last:,}; difference {interval(change)}, as n^{number(power(rows, objective, first, last).value)}"
        )
    return Verdict(
        f"{', '.join(map(named, objectives))} approach the target as pairs grow",
        judge(falls, rises, len(objectives)),
        f"KL(target‖policy) falls significantly, to below the base model's {number(base)} nats, for {falls} of "
        f"{len(objectives)} objectives.",
        "The claim holds if every objective is significantly nearer to the target with the most pairs than with the "
        "fewest, and then nearer than the base model. It holds partly if some are",
        tuple(parts),
    )


def levels_off(rows: pl.DataFrame) -> Verdict:
    """DPO compared with reverse KL at the most pairs, and both powers of n over the last step."""
    *_, before, last = _sizes(rows, "dpo", "reverse-kl")
    ours, theirs = (power(rows, o, before, last) for o in ("reverse-kl", "dpo"))
    apart = difference(rows, ("dpo", last), ("reverse-kl", last))
    level, falling = theirs.low > LEVEL, ours.high < LEVEL
    verdict = FAILS if apart.high < 0 else UNKNOWN
    if apart.low > 0:
        verdict = HOLDS if level and falling else PARTLY
    return Verdict(
        "DPO levels off while reverse KL continues towards the target",
        verdict,
        f"From n = {before:,} to {last:,}, DPO's distance changes as n^{interval(theirs)}, and reverse KL's as "
        f"n^{interval(ours)}. At n = {last:,} DPO's distance minus reverse KL's is {interval(apart)} nats.",
        f"The claim holds if, with the most pairs, DPO is significantly farther, its power of n is significantly above "
        f"{number(LEVEL)} and that of reverse KL significantly below. It holds partly if DPO is only farther. It does "
        "not hold if DPO is significantly nearer",
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

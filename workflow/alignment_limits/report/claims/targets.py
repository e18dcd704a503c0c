"""What policies learned from preferences say about the claims of [B], by their distance to the target.

Differences are paired by seed, each with pairs of its own; intervals are over seeds, or with one seed over prompts
(widest that both intervals allow; exact distances have none). Only reliable distances count, and of each objective's
coefficients the one of least mean distance. [B] is arXiv 2506.01523; the thresholds are our choice.
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

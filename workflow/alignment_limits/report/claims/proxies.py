"""What a sweep over trained proxies says about two claims of [L]: wrong rewards cost, and ensembles help to a floor.

As in claims.py, every rule compares 95% intervals, never point estimates, and is printed beside its verdict. What
ensembles save is an interval of differences on the same prompts.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict, judge
from alignment_limits.report.numbers import Estimate, interval, number

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
        f"share {s}, β = {x['beta']:g}: {_gap(x)} falls to {_gap(y)}, by {_estimate(y, 'saved')}" for s, x, y in pairs
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
    return _estimate(row, "gap")


def _estimate(row: dict[str, Any], name: str) -> str:
    return interval(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]))

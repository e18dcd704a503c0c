"""Pages on policies: where each stands, how far each is from its target, how estimates agree with exact values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.report.pages.page import Cell, render
from alignment_limits.study.objectives import named

ROUNDING = 1e-9  # of sums over all replies
_NAMES = {"frontier": "frontier", "best_of_n": "best-of-n and relatives", "policies": "policies"}


def policies_page(study: str, rows: pl.DataFrame, *, gold: str, top_p: float = 1.0) -> str:
    """HTML of the table `policies/policies.parquet`, gold's section first."""
    one_each = rows.unique("policy", keep="first", maintain_order=True)
    names = sorted(rows["evaluated"].unique(maintain_order=True).to_list(), key=lambda name: name != gold)
    parts = {name: rows.filter(pl.col("evaluated") == name) for name in names}
    return render(
        "policies.html",
        f"Policies and the limit: {study}",
        gold=gold,
        truncated=top_p < 1,
        kls=[_kl(r) for r in one_each.iter_rows(named=True)],
        by_reward={name: [_place(r) for r in part.iter_rows(named=True)] for name, part in parts.items()},
    )


def _kl(r: Mapping[str, Any]) -> list[str | Cell]:
    trained = [f"{key} {r[key]}" for key in ("objective", "optimized", "coefficient", "seed") if r[key] is not None]
    below = "; ".join([*trained, *([r["note"]] if r["note"] else [])])
    finite = "" if r["kl"] < float("inf") else f"infinite for {r['kl_infinite']:.0%} of its replies"
    kl = Cell(_marked(r, "kl") if not finite else "∞", finite)
    cut = f"{r['truncation_rate']:.0%}"
    apart = f"{r['logprob_deviation']:.1g}"
    return [Cell(r["policy"], below), kl, _marked(r, "kl_log_ratio"), number(r["mean_tokens"], 1), cut, apart]


def _place(r: Mapping[str, Any]) -> list[str | Cell]:
    if r["reliable"]:
        limit: list[str | Cell] = [number(r["limit"]), _estimate(r, "efficiency"), _estimate(r, "optimality_gap")]
    else:  # a limit that is not reliable is not shown, nor is a share of it
        limit = [Cell("–", r["reason"]), "–", f"{_estimate(r, 'optimality_gap')}†"]
    return [r["policy"], _marked(r, "gain"), *limit, _marked(r, "win_rate")]


def _marked(r: Mapping[str, Any], name: str) -> str:
    """An estimate that has a verdict of its own."""
    return _estimate(r, name) + ("" if r[f"{name}_reliable"] or not isfinite(r[name]) else "†")


def _estimate(r: Mapping[str, Any], name: str) -> str:
    return interval(Estimate(r[name], r[f"{name}_low"], r[f"{name}_high"], True, ""))


def targets_page(study: str, rows: pl.DataFrame, exact: pl.DataFrame | None, verdicts: Sequence[Verdict]) -> str:
    """HTML of `policies/targets.parquet`, and of `exact/targets.parquet` where there is one."""
    first = rows.row(0, named=True)
    known = {(r["policy"], r["quantity"]): r for r in exact.iter_rows(named=True)} if exact is not None else {}
    found = {(r["policy"], r["quantity"]): r for r in rows.iter_rows(named=True)}
    policies = rows["policy"].unique(maintain_order=True)
    return render(
        "targets.html",
        f"Distance to the preferences' target: {study}",
        reward=first["reward"],
        beta=f"{first['beta']:g}",
        ess=number(first["ess"], 1),
        share=f"{first['ess_share']:.0%}",
        least=number(first["ess_least"], 1),
        verdicts=verdicts,
        distances=[_row([found[p, q] for q in ("forward_kl", "reverse_kl")], known) for p in policies],
    )


def _row(both: Sequence[Mapping[str, Any]], known: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str | Cell]:
    r = both[0]
    said = [named(r["objective"])] if r["objective"] else []
    said += [f"{key} {r[key]}" for key in ("setting", "optimized", "coefficient", "seed") if r[key] is not None]
    pairs = "–" if r["pairs"] is None else f"{r['pairs']:,}"
    return [Cell(r["policy"], "; ".join(said)), pairs, *(_cell(one, known) for one in both)]


def _cell(r: Mapping[str, Any], known: Mapping[tuple[str, str], Mapping[str, Any]]) -> Cell:
    value = "∞" if r["estimate"] == float("inf") else interval(Estimate(r["estimate"], r["low"], r["high"]))
    exact = known.get((r["policy"], r["quantity"]))
    below = [f"exact {number(exact['exact'])}"] if exact else []
    below += [] if r["reliable"] else [r["reason"]]
    return Cell(value + ("" if r["reliable"] else "†"), "; ".join(below))


def exact_page(study: str, tables: Mapping[str, pl.DataFrame], *, gold: str) -> str:
    """HTML of the tables of `exact/`."""
    rows = None
    if "policies" in tables:
        found = verdicts(tables["policies"]).sort(pl.col("evaluated") != gold, "policy", maintain_order=True)
        rows = [_policy(row) for row in found.iter_rows(named=True)]
    return render(
        "exact.html",
        f"Estimates and exact values: {study}",
        counts=[row for name, values in tables.items() for row in _counts(_NAMES[name], values)],
        policies=rows,
    )


def verdicts(policies: pl.DataFrame) -> pl.DataFrame:
    """One row for each policy and reward: exact and estimated values, and whether it is `below` the exact limit."""
    keys = ["policy", "optimized", "evaluated"]
    quantities = ["kl", "gain", "limit", "optimality_gap", "regret"]
    wide = policies.select(keys).unique(maintain_order=True)
    for name in quantities:
        values = policies.filter(pl.col("quantity") == name)
        wide = wide.join(
            values.select(*keys, pl.col("exact").alias(name), pl.col("estimate").alias(f"{name}_estimate")),
            on=keys,
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
    return wide.with_columns(below=pl.col("gain") <= pl.col("limit") + ROUNDING)


def _counts(name: str, values: pl.DataFrame) -> list[list[str | Cell]]:
    known = values.filter(pl.col("holds_exact").is_not_null())
    grouped = known.group_by("quantity", maintain_order=True).agg(
        pl.len(), pl.col("holds_exact").sum(), pl.col("holds_population").sum()
    )
    return [
        [name, q.replace("_", " "), str(n), f"{own} ({own / n:.0%})", f"{everywhere} ({everywhere / n:.0%})"]
        for q, n, own, everywhere in grouped.iter_rows()
    ]


def _policy(row: Mapping[str, Any]) -> list[str | Cell]:
    def both(name: str) -> Cell:
        return Cell(number(row[name]), f"estimated {number(row[f'{name}_estimate'])}")

    regret = "" if row["regret"] is None else number(row["regret"])
    gap, verdict = both("optimality_gap"), "yes" if row["below"] else "no"
    return [row["policy"], row["evaluated"], both("kl"), both("gain"), both("limit"), verdict, gap, regret]

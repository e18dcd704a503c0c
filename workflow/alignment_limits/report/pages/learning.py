"""Pages on what is trained: policies from preferences, proxies from gold's labels, and where each policy stands.

They also show how far each policy is from its target, and how estimates agree with exact values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.numbers import Estimate, bracket, interval, number
from alignment_limits.report.pages.page import Cell, render
from alignment_limits.study.objectives import in_order, named

_TUNINGS = {
    "none": "Without regularisation",
    "oracle": "β of the oracle",
    "held-out": "β chosen on held-out pairs",
}


def learning_page(
    study: str,
    p: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    summary: pl.DataFrame,
    slopes: pl.DataFrame,
    nearest: Sequence[Sequence[str]],
    gammas: Sequence[pl.DataFrame],
) -> str:
    """HTML of claims and tables.

    Args:
        study: its name.
        p: the study file's `learning`: objectives, settings.
        verdicts: on the claims of the paper.
        summary, slopes: `learning/*.parquet`.
        nearest: from `claims.learning.nearest`.
        gammas: the table of estimates of γ, if the study made one.
    """
    objectives = in_order(p["objectives"])
    several = summary.select("setting", "level").unique(maintain_order=True).height > 1
    by_tuning = {
        title: (_by_level if several else _by_n)(summary, tuning, objectives) for tuning, title in _TUNINGS.items()
    }
    last = int(summary["n"].to_numpy().max())
    return render(
        "learning.html",
        f"Learning from preferences: {study}",
        verdicts=verdicts,
        by_tuning=by_tuning,
        distances_head=[f"setting and level (n = {last:,})" if several else "n", "base", *map(named, objectives)],
        nearest=nearest if several else [],
        slopes=[] if several else _slopes(slopes),
        gammas=[_gamma(gamma, p["world"]["gamma"]) for gamma in gammas],
        truth=f"{p['world']['gamma']:g}",
    )


def _by_n(summary: pl.DataFrame, tuning: str, objectives: Sequence[str]) -> list[list[str]]:
    rows = _forward(summary).filter(pl.col("n") > 0)
    numbers = rows["n"].unique().sort()
    return [[f"{n:,}", *_cells(rows.filter(pl.col("n") == n), tuning, objectives)] for n in numbers]


def _by_level(summary: pl.DataFrame, tuning: str, objectives: Sequence[str]) -> list[list[str]]:
    rows = _forward(summary).filter(pl.col("n") == pl.col("n").max())
    return [
        [f"{setting} {level:g}", *_cells(part, tuning, objectives)]
        for (setting, level), part in rows.group_by(["setting", "level"], maintain_order=True)
    ]


def _cells(rows: pl.DataFrame, tuning: str, objectives: Sequence[str]) -> list[str]:
    chosen = rows.filter((pl.col("tuning") == tuning) | (pl.col("objective") == "base"))
    found = {r["objective"]: r for r in chosen.iter_rows(named=True)}
    return [_value(found[o]) if o in found else "–" for o in ("base", *objectives)]


def _slopes(slopes: pl.DataFrame) -> list[list[str]]:
    lines = []
    for r in slopes.iter_rows(named=True):
        how = f"β = {r['beta']:g}" if r["tuning"] == "fixed" else f"β {r['tuning']}"
        exact = number(r["exact"]) if r["quantity"] == "floor" else "–"
        lines.append([named(r["objective"]), how, r["quantity"], _value(r), exact, f"{r['n_from']:,}"])
    return lines


def _gamma(estimates: pl.DataFrame, truth: float) -> list[list[str]]:
    lines = []
    for (dimension, n), part in estimates.sort("dimension", "n").group_by(["dimension", "n"], maintain_order=True):
        known = part.filter("identified")
        share = f"{known.height} of {part.height}"
        if not known.height:
            lines.append([f"{dimension}", f"{n:,}", share, "–", "–", "–"])
            continue
        holds = float(((known["low"] <= truth) & (known["high"] >= truth)).to_numpy().mean())
        middle, width = known["gamma"].median(), (known["high"] - known["low"]).median()
        lines.append([f"{dimension}", f"{n:,}", share, number(middle), number(width), f"{100 * holds:.0f} %"])  # type: ignore[arg-type]
    return lines


def _forward(summary: pl.DataFrame) -> pl.DataFrame:
    return summary.filter((pl.col("quantity") == "forward_kl") & (pl.col("tuning") != "fixed"))


def _value(row: Mapping[str, Any]) -> str:
    return "∞" if row["value"] == float("inf") else interval(Estimate(row["value"], row["low"], row["high"]))


def proxies_page(
    study: str,
    gold: str,
    proxies: pl.DataFrame,
    onsets: pl.DataFrame,
    ensembles: pl.DataFrame,
    verdicts: Sequence[Verdict],
    *,
    raw: bool = False,
) -> str:
    """HTML on proxies trained on gold's labels.

    Args:
        study: its name.
        gold: the reward taken as the truth.
        proxies: `limits/proxies.parquet`.
        onsets: `limits/proxy_onsets.parquet`.
        ensembles: `limits/proxy_ensembles.parquet`.
        verdicts: from `proxy_claims`.
        raw: the tables are in gold's own units.
    """
    return render(
        "proxies.html",
        f"Trained proxies of {gold}",
        study=study,
        raw=raw,
        verdicts=verdicts,
        by_labels=_by_labels(proxies),
        by_onset=_by_onset(onsets),
        by_size=_by_size(ensembles),
    )


def _by_labels(proxies: pl.DataFrame) -> list[list[str]]:
    """Medians over members; the range in brackets. Gold at fixed KL as it stands in the table."""
    rows = []
    once = proxies.unique(["labels", "member"], keep="first", maintain_order=True)
    for (labels,), part in once.group_by(["labels"], maintain_order=True):
        cells = [_range(part[c]) for c in ("error_variance", "spearman")]
        gold = _range(part["gold_gain_at_kl"]) + ("" if part["gold_gain_at_kl_reliable"].all() else " †")
        rows.append([f"{labels:,}", *cells, gold])
    return rows


def _by_onset(onsets: pl.DataFrame) -> list[list[str]]:
    """How many proxies take gold down again, along both paths."""
    rows = []
    for (labels,), part in onsets.group_by(["labels"], maintain_order=True):
        cells = []
        for path, place in (("tilt", "end"), ("best-of-n", "peak")):
            own = part.filter(pl.col("path") == path)
            fallen = own.filter(pl.col("drop_low").is_finite() & (pl.col("drop_low") > 0))
            places = (own if place == "end" else fallen).filter(pl.col(place).is_finite())[place]
            cells += [f"{fallen.height} of {own.height}", _range(places) if len(places) else "–"]
        rows.append([f"{labels:,}", *cells])
    return rows


def _range(values: pl.Series) -> str:
    low, middle, high = (float(x) for x in (values.min(), values.median(), values.max()))  # type: ignore[arg-type]
    return f"{number(middle)} ({number(low)} to {number(high)})"


def _by_size(ensembles: pl.DataFrame) -> list[list[str]]:
    return [
        [
            row["shared"],
            str(row["k"]),
            row["aggregator"],
            f"{row['beta']:.4g}",
            interval(Estimate(row["rho"], row["rho_low"], row["rho_high"])),
            interval(Estimate(row["gap"], row["gap_low"], row["gap_high"])) + ("" if row["reliable"] else " †"),
            number(row["gap_predicted"], 3) if row["aggregator"] == "mean" else "–",
        ]
        for row in ensembles.sort("shared", "beta", "aggregator", "k").iter_rows(named=True)
    ]


ROUNDING = 1e-9  # of sums over all replies
_NAMES = {"frontier": "frontier", "best_of_n": "best-of-n and relatives", "policies": "policies"}


def policies_page(
    study: str, rows: pl.DataFrame, *, gold: str, top_p: float = 1.0, raw: bool = False, gaps: Sequence[str] = ()
) -> str:
    """HTML of the table `policies/policies.parquet`, gold's section first.

    Args:
        raw: it is in the rewards' own units. gaps: sentences on what distances are made of.
    """
    one_each = rows.unique("policy", keep="first", maintain_order=True)
    names = sorted(rows["evaluated"].unique(maintain_order=True).to_list(), key=lambda name: name != gold)
    parts = {name: rows.filter(pl.col("evaluated") == name) for name in names}
    return render(
        "policies.html",
        f"Policies and the limit: {study}",
        gold=gold,
        raw=raw,
        truncated=top_p < 1,
        gaps=gaps,
        kls=[_kl(r) for r in one_each.iter_rows(named=True)],
        by_reward={name: [_place(r) for r in part.iter_rows(named=True)] for name, part in parts.items()},
    )


def _kl(r: Mapping[str, Any]) -> list[str | Cell]:
    trained = [f"{key} {r[key]}" for key in ("objective", "optimized", "coefficient", "seed") if r[key] is not None]
    below = "; ".join([*trained, *_ended(r), *([r["note"]] if r["note"] else [])])
    finite = "" if r["kl"] < float("inf") else f"infinite for {r['kl_infinite']:.0%} of its replies"
    kl = Cell(_marked(r, "kl") if not finite else "∞", finite)
    cut = f"{r['truncation_rate']:.0%}"
    apart = f"{r['logprob_deviation']:.1g}"
    return [Cell(r["policy"], below), kl, _marked(r, "kl_log_ratio"), number(r["mean_tokens"], 1), cut, apart]


def _ended(r: Mapping[str, Any]) -> list[str]:
    """Its learning rate, and how training ended where a rule decided it; older tables do not say."""
    said = {"converged": "converged at step {}", "cut short": "cut short at {} steps"}.get(r.get("ended") or "")
    rate = r.get("learning_rate")
    return [*([f"learning rate {rate:g}"] if rate else []), *([said.format(r["steps"])] if said else [])]


def _place(r: Mapping[str, Any]) -> list[str | Cell]:
    if r["reliable"]:
        limit: list[str | Cell] = [number(r["limit"]), _estimate(r, "efficiency"), _estimate(r, "optimality_gap")]
    else:  # a limit that is not reliable is not shown, nor is a share of it; its bounds are
        bounds = bracket(*(r.get(name) or nan for name in ("at_least", "at_most")))
        limit = [Cell(bounds or "–", r["reason"]), "–", f"{_estimate(r, 'optimality_gap')}†"]
    return [r["policy"], _marked(r, "gain"), *limit, _marked(r, "win_rate")]


def _marked(r: Mapping[str, Any], name: str) -> str:
    """An estimate that has a verdict of its own."""
    return _estimate(r, name) + ("" if r[f"{name}_reliable"] or not isfinite(r[name]) else "†")


def _estimate(r: Mapping[str, Any], name: str) -> str:
    return interval(Estimate(r[name], r[f"{name}_low"], r[f"{name}_high"], True, ""))


def targets_page(
    study: str, rows: pl.DataFrame, exact: pl.DataFrame | None, verdicts: Sequence[Verdict], *, raw: bool = False
) -> str:
    """HTML of `policies/targets.parquet`, and of `exact/targets.parquet` where there is one.

    `raw`: the target's β is in the reward's own units, if `reward_unit` says so.
    """
    first = rows.row(0, named=True)
    known = {(r["policy"], r["quantity"]): r for r in exact.iter_rows(named=True)} if exact is not None else {}
    found = {(r["policy"], r["quantity"]): r for r in rows.iter_rows(named=True)}
    policies = rows["policy"].unique(maintain_order=True)
    return render(
        "targets.html",
        f"Distance to the preferences' target: {study}",
        reward=first["reward"],
        beta=f"{first['beta']:.4g}",
        raw=raw and first["reward_unit"] == first["reward"],
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


def exact_page(study: str, tables: Mapping[str, pl.DataFrame], *, gold: str, raw: bool = False) -> str:
    """HTML of the tables of `exact/`; `raw`: they are in the rewards' own units."""
    rows = None
    if "policies" in tables:
        found = verdicts(tables["policies"]).sort(pl.col("evaluated") != gold, "policy", maintain_order=True)
        rows = [_policy(row) for row in found.iter_rows(named=True)]
    return render(
        "exact.html",
        f"Estimates and exact values: {study}",
        counts=[row for name, values in tables.items() for row in _counts(_NAMES[name], values)],
        policies=rows,
        raw=raw,
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
    return wide.with_columns(below=pl.col("gain") <= pl.col("limit") + ROUNDING * (1 + pl.col("limit").abs()))


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

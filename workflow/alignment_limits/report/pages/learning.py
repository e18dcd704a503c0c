"""Pages on what is learned: policies from preferences in enumerated worlds, and proxies from gold's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.report.pages.page import render
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
) -> str:
    """HTML on proxies trained on gold's labels.

    Args:
        study: its name.
        gold: the reward taken as the truth.
        proxies: `limits/proxies.parquet`.
        onsets: `limits/proxy_onsets.parquet`.
        ensembles: `limits/proxy_ensembles.parquet`.
        verdicts: from `proxy_claims`.
    """
    return render(
        "proxies.html",
        f"Trained proxies of {gold}",
        study=study,
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
            f"{row['beta']:g}",
            interval(Estimate(row["rho"], row["rho_low"], row["rho_high"])),
            interval(Estimate(row["gap"], row["gap_low"], row["gap_high"])) + ("" if row["reliable"] else " †"),
            number(row["gap_predicted"], 3) if row["aggregator"] == "mean" else "–",
        ]
        for row in ensembles.sort("shared", "beta", "aggregator", "k").iter_rows(named=True)
    ]

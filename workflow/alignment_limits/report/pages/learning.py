"""The verdicts and numbers of a study of learning as a page of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.report.pages.headline import claim_box
from alignment_limits.report.pages.page import page, table, tag
from alignment_limits.study.objectives import in_order, named

_LEAD = (
    "Every policy here is an exact minimiser over all policies of an enumerated world, and every distance an exact "
    "sum: there is no optimiser's error and no sampling error but that of the pairs. Values are means over seeds (a "
    "world and data of its own each) with 95% t-intervals; KL is in nats, averaged over contexts."
)
_ABOUT_B = (
    "[B] is 'Beyond RLHF: A Unified Theoretical Framework of Alignment' (arXiv 2506.01523). Its toy gives contexts, "
    "responses, γ, the laws of the logits and n up to 65,536; the sampler of pairs (the base, contexts equally "
    "likely), seeds, larger n, the grid of β, both ways of choosing it, the prior on fitted rewards "
    "and the thresholds of these verdicts are our choice. A verdict speaks about these worlds."
)
_ABOUT_CHOICE = (
    "β by oracle: one for each n, of least mean forward KL over the seeds, which takes the target to know. β held out: "
    "each seed's own, of least log-loss −log σ(γ log π⁺/π⁻) on held-out pairs of its data."
)
_ABOUT_PMLE = (
    "PMLE's and distillation's β KL(π‖π₀) is bounded, so with a small β separable data still run away: the infimum is "
    "at infinity. Their policy is the minimum that is joined to π₀ as β falls from infinity; ∞ marks a mean over seeds "
    "of which one has none."
)


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
        p: the study file's `learning`: objectives, settings.
        nearest: from `learning_breadth.nearest`.
        gammas: the table of estimates of γ, if the study made one.
    """
    objectives = in_order(p["objectives"])
    body = [
        tag("h2", "What the paper's claims come to here"),
        tag("p", _ABOUT_B, "soft"),
        *(claim_box(v) for v in verdicts),
        tag("h2", "Forward KL to the target"),
        tag("p", _ABOUT_CHOICE, "soft"),
        tag("p", _ABOUT_PMLE, "soft"),
    ]
    several = summary.select("setting", "level").unique(maintain_order=True).rows()
    for tuning in ("none", "oracle", "held-out"):
        body.append(tag("h3", {"none": "Without regularisation", "oracle": "β by oracle"}.get(tuning, "β held out")))
        body.append(_by_n(summary, tuning, objectives) if len(several) == 1 else _by_level(summary, tuning, objectives))
    if len(several) > 1:
        head = ["setting and level", "nearest", "forward KL", "surely farther", "not surely"]
        body += [tag("h2", "Which objective is nearest, β held out"), table(head, nearest)]
    if slopes.height and len(several) == 1:
        body += [tag("h2", "Slopes and floors"), _slopes(slopes)]
    for gamma in gammas:
        body += [tag("h2", "γ estimated from preferences"), _gamma(gamma, p["world"]["gamma"])]
    return page(f"Learning from preferences: {study}", body, _LEAD)


def _by_n(summary: pl.DataFrame, tuning: str, objectives: Sequence[str]) -> str:
    rows = _forward(summary).filter(pl.col("n") > 0)
    head = ["n", "base", *map(named, objectives)]
    return table(
        head, [[f"{n:,}", *_cells(rows.filter(pl.col("n") == n), tuning, objectives)] for n in _values(rows, "n")]
    )


def _by_level(summary: pl.DataFrame, tuning: str, objectives: Sequence[str]) -> str:
    last = int(summary["n"].to_numpy().max())
    rows = _forward(summary).filter(pl.col("n") == last)
    lines = []
    for (setting, level), part in rows.group_by(["setting", "level"], maintain_order=True):
        lines.append([f"{setting} {level:g}", *_cells(part, tuning, objectives)])
    return table([f"setting and level (n = {last:,})", "base", *map(named, objectives)], lines)


def _cells(rows: pl.DataFrame, tuning: str, objectives: Sequence[str]) -> list[str]:
    chosen = rows.filter((pl.col("tuning") == tuning) | (pl.col("objective") == "base"))
    found = {r["objective"]: r for r in chosen.iter_rows(named=True)}
    return [_value(found[o]) if o in found else "–" for o in ("base", *objectives)]


def _slopes(slopes: pl.DataFrame) -> str:
    lines = []
    for r in slopes.iter_rows(named=True):
        how = f"β = {r['beta']:g}" if r["tuning"] == "fixed" else f"β {r['tuning']}"
        exact = number(r["exact"]) if r["quantity"] == "floor" else "–"
        lines.append([named(r["objective"]), how, r["quantity"], _value(r), exact, f"{r['n_from']:,}"])
    return table(["objective", "coefficient", "quantity", "value [95% interval]", "exact", "from n"], lines)


def _gamma(table_: pl.DataFrame, truth: float) -> str:
    lines = []
    for (dimension, n), part in table_.sort("dimension", "n").group_by(["dimension", "n"], maintain_order=True):
        known = part.filter("identified")
        share = f"{known.height} of {part.height}"
        if not known.height:
            lines.append([f"{dimension}", f"{n:,}", share, "–", "–", "–"])
            continue
        holds = float(((known["low"] <= truth) & (known["high"] >= truth)).to_numpy().mean())
        middle, width = known["gamma"].median(), (known["high"] - known["low"]).median()
        lines.append([f"{dimension}", f"{n:,}", share, number(middle), number(width), f"{100 * holds:.0f} %"])  # type: ignore[arg-type]
    head = ["reward features", "n", "identified", "median estimate", "median width", f"intervals that hold {truth:g}"]
    return table(head, lines)


def _forward(summary: pl.DataFrame) -> pl.DataFrame:
    return summary.filter((pl.col("quantity") == "forward_kl") & (pl.col("tuning") != "fixed"))


def _values(rows: pl.DataFrame, column: str) -> list[Any]:
    return list(rows[column].unique().sort())


def _value(row: Mapping[str, Any]) -> str:
    return "∞" if row["value"] == float("inf") else interval(Estimate(row["value"], row["low"], row["high"]))

"""How far each policy is from the target of its preferences, as a page of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from alignment_limits.learning.names import named
from alignment_limits.report.claims import Verdict
from alignment_limits.report.headline_page import claim_box
from alignment_limits.report.lookup import Estimate
from alignment_limits.report.page import Cell, page, table, tag
from alignment_limits.report.text import interval, number

_ABOUT = (
    "The target is the law the preferences speak of: the base's tilt by {reward} at β = {beta:g} (rewards in base "
    "standard deviations). KL(target‖policy) weighs the base's samples towards the target; KL(policy‖target) is "
    "[𝒥(target) − 𝒥(policy)]/β, 𝒥 = E r − β·KL(·‖π₀). Nats per reply, means over prompts; brackets are 95% intervals "
    "from a bootstrap over prompts; † marks what is not reliable, with the reason. The target has an effective sample "
    "size of {ess} of the base's samples to a prompt ({share}; median over prompts, the smallest is {least})."
)
_NONE = "No two policies here learned from preference pairs in ways that the claims of the paper compare."
_BEST = (
    "Of several recipes or coefficients of one objective those of least mean distance are taken, as an oracle would."
)


def targets_page(study: str, rows: pl.DataFrame, exact: pl.DataFrame | None, verdicts: Sequence[Verdict]) -> str:
    """HTML of `policies/targets.parquet`, and of `exact/targets.parquet` where there is one."""
    first = rows.row(0, named=True)
    about = _ABOUT.format(
        reward=first["reward"],
        beta=first["beta"],
        ess=number(first["ess"], 1),
        share=f"{first['ess_share']:.0%}",
        least=number(first["ess_least"], 1),
    )
    known = {(r["policy"], r["quantity"]): r for r in exact.iter_rows(named=True)} if exact is not None else {}
    found = {(r["policy"], r["quantity"]): r for r in rows.iter_rows(named=True)}
    policies = rows["policy"].unique(maintain_order=True)
    head = ["policy", "pairs", "KL(target‖policy)", "KL(policy‖target)"]
    body = [
        tag("h2", "What the paper's claims come to here"),
        *([tag("p", _BEST, "soft")] if verdicts else [tag("p", _NONE)]),
        *(claim_box(v) for v in verdicts),
        tag("h2", "Distances"),
        table(head, [_row([found[p, q] for q in ("forward_kl", "reverse_kl")], known) for p in policies]),
    ]
    return page(f"Distance to the preferences' target: {study}", body, about)


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

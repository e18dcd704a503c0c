"""The headline numbers and the verdicts as a page of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from alignment_limits.report.claims.limits import FAILS, HOLDS, PARTLY, Verdict
from alignment_limits.report.numbers import Estimate, interval
from alignment_limits.report.pages.page import Cell, box, page, table, tag

_CSS = {HOLDS: "claim holds", PARTLY: "claim partly", FAILS: "claim fails"}
_LEAD = (
    "Values with 95% intervals from a bootstrap over prompts. Gains are in base standard deviations of "
    "gold: scores are centred per prompt and divided by the within-prompt spread of the base model's own "
    "samples. KL is in nats per sequence, averaged over prompts. † marks what is not reliable, with the "
    "reason."
)
_ABOUT_L = (
    "[L] is 'Theoretical Limits of Language Model Alignment' (arXiv 2605.07105), of which only the "
    "abstract and outline were available to us: models, prompts, rewards, grids and the thresholds of "
    "these verdicts are our choice. A verdict speaks about this model, these prompts and these rewards, no "
    "others."
)

_ABOUT_SHARE = (
    "Each row optimises one reward or ensemble and reads gold. The share's interval holds every ratio of the "
    "two gains' intervals, so it is wider than a paired one. Hacking onset is the KL at which gold peaks as the "
    "base model is tilted ever harder; the stopping point is the number of draws at which it peaks along "
    "best-of-n. Either is given only where gold surely falls afterwards; a dash with its reason says how far was "
    "looked, and nothing about what lies beyond."
)


def headline_page(
    study: str, numbers: pl.DataFrame, verdicts: Sequence[Verdict], notes: Mapping[str, str] | None = None
) -> str:
    """HTML of the headline table (from `headline`) and the claims (from `claims`).

    Args:
        notes: caveats by reward, printed under its name.
    """
    rewards = numbers.filter(pl.col("group").is_in(["proxy", "ensemble"]))
    body = [
        tag("h2", "What the paper's claims come to here"),
        tag("p", _ABOUT_L, "soft"),
        *(claim_box(v) for v in verdicts),
        tag("h2", "The limit for gold"),
        _long(numbers.filter(pl.col("group").is_in(["limit", "units"]))),
        tag("h2", "Best-of-n"),
        _long(numbers.filter(pl.col("group") == "best-of-n"), subject=True),
        tag("h2", "Gold when something else is optimised"),
        tag("p", _ABOUT_SHARE, "soft"),
        _wide(rewards, notes or {}) if rewards.height else tag("p", "The study has no proxies."),
        tag("h2", "Samples"),
        _long(numbers.filter(pl.col("group") == "samples")),
    ]
    return page(f"Headline numbers: {study}", body, _LEAD)


def claim_box(v: Verdict) -> str:
    """A claim with its verdict, its numbers and its rule."""
    inner = [
        tag("h3", v.claim),
        f"<p>{tag('span', v.verdict.capitalize() + '.', 'verdict')} {tag('span', v.sentence)}</p>",
        f"<p>{tag('small', 'Rule: ' + v.rule + '.')}</p>",
    ]
    return box("div", inner, _CSS.get(v.verdict, "claim"))


def _long(rows: pl.DataFrame, *, subject: bool = False) -> str:
    lines = []
    for r in rows.iter_rows(named=True):
        first = f"{r['subject']}: {r['quantity']}" if subject else r["quantity"]
        lines.append([first, _value(r), r["unit"]])
    return table(["quantity", "value [95% interval]", "unit"], lines)


def _wide(rows: pl.DataFrame, notes: Mapping[str, str]) -> str:
    """One line per reward, one column per quantity."""
    quantities: list[str] = rows["quantity"].unique(maintain_order=True).to_list()
    lines: list[list[str | Cell]] = []
    for (subject,), part in rows.group_by(["subject"], maintain_order=True):
        found = {r["quantity"]: r for r in part.iter_rows(named=True)}
        below = "ensemble" if part["group"][0] == "ensemble" else notes.get(str(subject), "")
        lines.append([Cell(str(subject), below), *(_value(found[q]) if q in found else "–" for q in quantities)])
    return table(["optimised", *_heads(rows, quantities)], lines)


def _heads(rows: pl.DataFrame, quantities: Iterable[str]) -> list[str]:
    units = dict(rows.select("quantity", "unit").iter_rows())
    shown = {"base s.d. of gold": " (base s.d.)", "nats per sequence": " (nats)"}
    return [q + shown.get(units[q], "") for q in quantities]


def _value(row: dict[str, object]) -> Cell:
    value, low, high = (float(row[k]) for k in ("value", "low", "high"))  # type: ignore[arg-type]
    text = interval(Estimate(value, low, high))
    if text == "–":
        return Cell("–", str(row["note"]))
    return Cell(text if row["reliable"] else f"{text} †", str(row["note"]))

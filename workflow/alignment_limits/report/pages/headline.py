"""The first page of the report and the pages on rewards: headline numbers, generated text, whether gold is valid.

The first page is reStructuredText, which Snakemake's report shows. The others are HTML.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.headline import CLOSE, policies
from alignment_limits.report.numbers import Estimate, bracket, interval, number
from alignment_limits.report.pages.page import Cell, render

PROMPTS = 4
EACH = 3  # highest and lowest samples per prompt
LONGEST = 2000  # characters of a text shown


def headline_page(
    study: str,
    numbers: pl.DataFrame,
    answers: Sequence[tuple[str, str]],
    verdicts: Sequence[Verdict],
    notes: Mapping[str, str] | None = None,
    figures: Mapping[str, bytes] | None = None,
) -> str:
    """HTML of the answers, the claims (from `claims`) and the headline table (from `headline`).

    Args:
        study: its name.
        numbers: `report/headline.parquet`.
        answers: questions and the sentences that answer them.
        verdicts: on the claims of the paper.
        notes: caveats by reward, printed under its name.
        figures: PNG images to show below the answers, by title.
    """
    rewards = numbers.filter(pl.col("group").is_in(["proxy", "ensemble"]))
    head, others = _wide(rewards, notes or {})
    return render(
        "headline.html",
        f"Headline numbers: {study}",
        answers=answers,
        figures={title: base64.b64encode(png).decode("ascii") for title, png in (figures or {}).items()},
        verdicts=verdicts,
        numbers_head=["quantity", "value [95% interval]", "unit"],
        limits=_long(numbers.filter(pl.col("group").is_in(["limit", "units"]))),
        best_of_n=_long(numbers.filter(pl.col("group") == "best-of-n"), subject=True),
        samples=_long(numbers.filter(pl.col("group").is_in(["samples", "labels"]))),
        raw=numbers["unit"].str.starts_with("units of").any(),
        others_head=head,
        others=others,
    )


def _long(rows: pl.DataFrame, *, subject: bool = False) -> list[list[str | Cell]]:
    lines: list[list[str | Cell]] = []
    for r in rows.iter_rows(named=True):
        first = f"{r['subject']}: {r['quantity']}" if subject else r["quantity"]
        lines.append([first, _value(r), _UNITS.get(r["unit"], r["unit"])])
    return lines


_UNITS = {
    "base s.d. of gold": "s.d. of gold",
    "nats per sequence": "nats per reply",
    "native units of gold": "gold's own units",
}  # of the table, as a reader knows them


def _wide(rows: pl.DataFrame, notes: Mapping[str, str]) -> tuple[list[str], list[list[str | Cell]]]:
    """One line per reward, one column per quantity."""
    quantities: list[str] = rows["quantity"].unique(maintain_order=True).to_list()
    lines: list[list[str | Cell]] = []
    for (subject,), part in rows.group_by(["subject"], maintain_order=True):
        found = {r["quantity"]: r for r in part.iter_rows(named=True)}
        below = "ensemble" if part["group"][0] == "ensemble" else notes.get(str(subject), "")
        lines.append([Cell(str(subject), below), *(_value(found[q]) if q in found else "–" for q in quantities)])
    return ["proxy or ensemble", *_heads(rows, quantities)], lines


def _heads(rows: pl.DataFrame, quantities: Iterable[str]) -> list[str]:
    units = dict(rows.select("quantity", "unit").iter_rows())
    shown = {"base s.d. of gold": " (s.d.)", "nats per sequence": " (nats)"}
    own = {unit: f" ({unit})" for unit in units.values() if unit.startswith("units of")}
    return [q + (shown | own).get(units[q], "") for q in quantities]


def _value(row: dict[str, object]) -> Cell:
    value, low, high = (float(row[k]) for k in ("value", "low", "high"))  # type: ignore[arg-type]
    text = interval(Estimate(value, low, high))
    if text == "–":
        return Cell(bracket(float(row["at_least"]), float(row["at_most"])) or "–", str(row["note"]))  # type: ignore[arg-type]
    return Cell(text if row["reliable"] else f"{text} †", str(row["note"]))


def sample_page(
    study: str, prompts: pl.DataFrame, samples: pl.DataFrame, gold: pl.DataFrame, *, count: int = PROMPTS
) -> str:
    """HTML with the samples gold likes most and least, for `count` prompts spread evenly over the study's.

    Args:
        study: its name.
        prompts: prompt_id, text.
        samples: prompt_id, sample_id, text, finish_reason.
        gold: prompt_id, sample_id, score of the gold reward (base standard deviations, prompt mean 0).
        count: prompts shown.
    """
    scored = samples.join(gold.select("prompt_id", "sample_id", "score"), on=["prompt_id", "sample_id"], how="inner")
    ids = sorted(scored["prompt_id"].unique().to_list())
    chosen = ids[:: max(len(ids) // max(count, 1), 1)][:count]
    texts = dict(prompts.select("prompt_id", "text").iter_rows())
    shown = [_prompt(i, texts.get(i, ""), scored.filter(pl.col("prompt_id") == i)) for i in chosen]
    return render("samples.html", f"Samples: {study}", prompts=shown)


def _prompt(prompt_id: str, text: str, rows: pl.DataFrame) -> dict[str, Any]:
    ranked = rows.sort(["score", "sample_id"], descending=[True, False])
    each = min(EACH, ranked.height // 2)
    ends = {"highest": _replies(ranked.head(each)), "lowest": _replies(ranked.tail(each))}
    return {"id": prompt_id, "text": text[:LONGEST]} | ends


def _replies(rows: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "score": number(r["score"]),
            "sample": r["sample_id"],
            "cut": r["finish_reason"] == "length",
            "text": (r["text"] or "")[:LONGEST],
        }
        for r in rows.iter_rows(named=True)
    ]


def gold_page(study: str, rewards: pl.DataFrame, gold: str, above_samples: float, above_other: float) -> str:
    """HTML on whether gold judges experts' replies as it should.

    Args:
        study: its name.
        rewards: `report/gold.parquet`.
        gold: the reward taken as the truth.
        above_samples, above_other: shares a gold reward must reach.
    """
    own = rewards.row(by_predicate=pl.col("reward") == gold, named=True)
    verdict = "passes" if own["fit"] else "does not pass"
    if not own["documents"]:
        verdict = "cannot be judged, because the only reference that it could read is the expert's reply"
    rows: list[list[str | Cell]] = []
    for row in rewards.iter_rows(named=True):
        name = Cell(row["reward"], "gold" if row["reward"] == gold else "")
        shares = [_interval(row, share, percent=True) for share in ("above_samples", "above_other")]
        ranks = "1" if row["reward"] == gold else _interval(row, "spearman")
        rows.append([name, row["beside"], *shares, "yes" if row["fit"] else "no", ranks])
    return render(
        "gold.html",
        f"Is {gold} valid as gold?",
        study=study,
        documents=own["documents"],
        gold=gold,
        verdict=verdict,
        above_samples=f"{above_samples:.0%}",
        above_other=f"{above_other:.0%}",
        rewards=rows,
    )


def _interval(row: dict[str, float], name: str, *, percent: bool = False) -> str:
    return interval(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]), percent=percent)


WIDTH = 520  # pixels
LINE = 1000  # characters of a line; docutils refuses long ones


def first_page(found: Mapping[str, Any], png: bytes, placed: pl.DataFrame | None, gold: str) -> str:
    """The text, the figure in it.

    Args:
        found: `answers` (question and sentence) and `verdicts` (claim, verdict), of `report/findings.json`.
        png: the figure of the frontier.
        placed: `policies/policies.parquet`, if the study has policies.
        gold: the reward taken as the truth.
    """
    answers = [(q, f"{a} {policies(placed, gold)}" if q == CLOSE and placed is not None else a)
               for q, a in found["answers"]]  # fmt: skip
    blocks = [f"**{escaped(question)}** {escaped(answer)}" for question, answer in answers]
    blocks.append(_image(png))
    blocks.append("The limit of reward at each KL (black) and best-of-n (orange). Shaded ranges are not reliable.")
    blocks.append("**Verdicts on claims.** Numbers and rules are in `0 Summary`_.")
    blocks.append("\n".join(_verdict(verdict) for verdict in found["verdicts"]))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """A text in one line in which nothing is markup: every sign but letters, digits and spaces has a backslash."""
    return re.sub(r"([^\w\s]|_)", r"\\\1", " ".join(text.split()))


def _image(png: bytes) -> str:
    data = "\n   ".join(wrap(base64.b64encode(png).decode("ascii"), LINE))
    what = "Gain in gold against KL: the limit and best-of-n"
    return f".. image:: data:image/png;base64,{data}\n   :width: {WIDTH}px\n   :alt: {what}"


def _verdict(verdict: Mapping[str, str]) -> str:
    return f"- {escaped(verdict['claim'])}: **{escaped(verdict['verdict'])}**"

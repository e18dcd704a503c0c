"""The report's sentences about trade-offs: a question and its answer for each table that a study has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from alignment_limits.report import golds
from alignment_limits.report.headline import most_frequent, nats
from alignment_limits.report.numbers import Estimate, estimate, interval, number, unit_of
from alignment_limits.tables.sample_columns import CHARACTERS, REFUSAL, SHARES, TOKENS, TRUNCATED
from alignment_limits.tables.units import COLUMNS, in_raw_units
from alignment_limits.tradeoffs.length_control import FREE, HELD
from alignment_limits.tradeoffs.side_effects import TILT

WANTED_N = 4  # draws of best-of-n; the nearest reliable row is spoken of
WANTED_KL = 1.0  # nats; the nearest reliable row is spoken of
_CHANGES = {TRUNCATED: "replies cut at the token limit", REFUSAL: "refusals"}


def answers(
    tables: Mapping[str, pl.DataFrame], gold: str, scales: Mapping[str, float] | None = None
) -> list[tuple[str, str]]:
    """Questions and sentences, for the tables below tradeoffs/ that a study has.

    Args:
        tables: by the name of their estimator, in base standard deviations.
        gold: the reward taken as the truth.
        scales: of the rewards, for sentences in their own units.
    """
    own = {name: table for name, table in tables.items() if name in ANSWERS}
    if scales is not None:
        for name in own:
            if (file := f"tradeoffs/{name}.parquet") in COLUMNS:
                own[name] = in_raw_units(file, own[name], scales, gold)
    found = (ANSWERS[name](table, gold) for name, table in own.items())
    return [answer for answer in found if answer is not None]


def side_effects(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """How length, and the share of cut replies and refusals, change as gold is optimised; None without such columns."""
    rows = table.filter((pl.col("optimized") == gold) & (pl.col("method") == TILT) & (pl.col("kind") == "column"))
    have = rows["column"].unique(maintain_order=True).to_list()
    named = [TOKENS if TOKENS in have else CHARACTERS, *(c for c in have if c not in (TOKENS, CHARACTERS, *SHARES))]
    named = [name for name in [*named, *_CHANGES] if name in have]
    if not named:
        return None
    known = [name for name in named if nearest(rows.filter(pl.col("column") == name)) is not None]
    if not known:
        reason = most_frequent(rows.filter(pl.col("column") == named[0])["reason"].to_list())
        return "What else changes?", f"No change of another column is reliable here. Reason: {reason}."
    parts = [_change(rows.filter(pl.col("column") == name), name) for name in known[:4]]
    return "What else changes?", " ".join(parts)


def nearest(rows: pl.DataFrame, wanted: float = WANTED_KL) -> dict[str, object] | None:
    """The reliable row with the KL nearest to the one wanted."""
    rows = rows.filter("reliable").sort((pl.col("kl") - wanted).abs())
    return rows.row(0, named=True) if rows.height else None


def _change(rows: pl.DataFrame, name: str) -> str:
    row = nearest(rows)
    assert row is not None
    share = name in SHARES
    factor = 100.0 if share else 1.0
    size = estimate(row, "change").times(factor)
    kl, base = float(row["kl"]), factor * float(row["base"])  # type: ignore[arg-type]
    unit = " percentage points" if share else f" {name}" if name in (TOKENS, CHARACTERS) else ""
    subject = {TOKENS: "Replies", CHARACTERS: "Replies"}.get(name, _CHANGES.get(name, f"The mean of {name}"))
    subject = subject[0].upper() + subject[1:]
    if not (size.low > 0 or size.high < 0):
        subject = "The length of replies" if name in (TOKENS, CHARACTERS) else subject
        most = max(abs(size.low), abs(size.high))
        verb = "do" if name in _CHANGES else "does"
        return f"{subject} {verb} not change significantly up to {nats(kl)} (at most {number(most)}{unit})."
    up, down = ("get longer", "get shorter") if name in (TOKENS, CHARACTERS) else ("rises", "falls")
    if name in _CHANGES:
        up, down = "become more frequent", "become less frequent"
    word, sized = (up, size) if size.value > 0 else (down, _negative(size))
    percent = " %" if share else ""
    return f"{subject} {word} by {interval(sized)}{unit} at {nats(kl)} (base model: {number(base)}{percent})."


def _negative(size: Estimate) -> Estimate:
    return Estimate(-size.value, -size.high, -size.low, size.reliable, size.reason)


def cost(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """What the stopping rule saves against best-of-n, and what best-of-n's shortfall is due to."""
    own = table.filter((pl.col("optimized") == gold) & (pl.col("evaluated") == gold) & (pl.col("n") > 1))
    if not own.height:
        return None
    question = "What does the reward cost?"
    rules = own.filter((pl.col("method") == "stopping") & pl.col("reliable") & pl.col("same_as").is_finite())
    if not rules.height:
        reason = most_frequent(own.filter(pl.col("method") == "stopping")["reason"].to_list())
        return question, f"The gain for a given cost is not reliable here. Reason: {reason or 'no n gains as much'}."
    row = rules.sort((pl.col("n") - WANTED_N).abs(), "n").row(0, named=True)
    said = (
        f"A stopping rule at the mean cost of best-of-{row['n']} gains as much as "
        f"best-of-{interval(estimate(row, 'same_as'))}."
    )
    parts = own.filter((pl.col("method") == "best-of-n") & pl.col("shortfall_reliable"))
    if parts.height:
        part = parts.sort((pl.col("n") - WANTED_N).abs(), "n").row(0, named=True)
        shares = {name: 100 * max(part[name], 0.0) / part["limit"] for name in ("not_tilt", "same_n")}
        said += (
            f" Best-of-{part['n']} loses {number(shares['not_tilt'], 1)} % of the limit because it is not the tilt and "
            f"{number(shares['same_n'], 1)} % because n is the same for all prompts."
        )
    return question, said


def length_control(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """How much of gold's gain comes with length, and what is lost if length is held; None without a length."""
    own = table.filter((pl.col("optimized") == gold) & (pl.col("evaluated") == gold))
    if not own.height:
        return None
    question = "How much of the gain comes with length?"
    free, held = (own.filter(pl.col("tilt") == tilt) for tilt in (FREE, HELD))
    row = nearest(free.filter("explained_reliable"))
    if row is None:
        return question, f"This is not reliable here. Reason: {most_frequent(free['explained_reason'].to_list())}."
    part = estimate(row, "explained")
    kl = float(row["kl"])  # type: ignore[arg-type]
    what = {TOKENS: "length", CHARACTERS: "length"}.get(str(row["column"]), str(row["column"]))
    said = (
        f"At {nats(kl)}, the change of {what} predicts {interval(part, percent=True)} of the gain in gold (regression "
        f"of gold on {what} within prompts)."
    )
    other = held.filter((pl.col("kl") - kl).abs() < 1e-9)
    lost = estimate(other.row(0, named=True), "lost") if other.height else Estimate()
    if lost.known:
        said += f" With the mean of {what} held fixed, the largest gain is {interval(lost, percent=True)} smaller."
    return question, said


def label_noise(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """How reliable repeated judgements are, and how much of best-of-n's gain is noise."""
    said = []
    for (name,), rows in table.group_by(["reward"], maintain_order=True):
        picked = rows.filter((pl.col("at") == "best-of-n") & pl.col("reliable"))
        share = estimate(rows.row(0, named=True), "reliability")
        said.append(
            f"Of the variance of a judgement of {name} within a prompt, {interval(share, percent=True)} is not noise."
        )
        if picked.height:
            row = picked.sort((pl.col("n") - WANTED_N).abs(), "n").row(0, named=True)
            said.append(
                f"Best-of-{row['n']} seems to gain {number(row['seen'])} in the judgements' units; without noise it "
                f"gains {interval(estimate(row, 'gain'))}."
            )
    return ("What does label noise hide?", " ".join(said)) if said else None


def verifiable(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """The limit of the pass rate near 1 nat, how close best-of-n comes, and what votes and other rewards reach."""
    if not table.height:
        return None
    limits = table.filter((pl.col("method") == "limit") & (pl.col("budget") == "average"))
    question, name = "How many replies can pass?", table["reward"][0]
    base, row = (limits.sort((pl.col("kl") - kl).abs()).row(0, named=True) for kl in (0.0, WANTED_KL))
    within = nats(round(float(row["kl"]), 2))
    said = f"`{name}` is 0 or 1. Of the base model's replies {_percent(base)} pass; within {within} at most "
    said += f"{_percent(row)}."
    if not row["reliable"]:
        said = said[:-1] + f"; {row['no_success']} of {row['prompts']} prompts have no success and may never pass."
    others = table.filter(~pl.col("method").is_in(["limit", "best-of-n"]) & (pl.col("k") > 1) & pl.col("reliable"))
    picked = table.filter((pl.col("method") == "best-of-n") & (pl.col("k") > 1) & pl.col("reliable"))
    if picked.height:
        row = picked.sort((pl.col("k") - WANTED_N).abs(), "k").row(0, named=True)
        said += f" The best of {row['k']} replies passes in {_percent(row)} ({nats(round(float(row['kl']), 2))})."
        others = others.filter(pl.col("k") == row["k"])
    for row in others.sort("pass_rate", descending=True).head(1).iter_rows(named=True):
        by = f" by `{row['selecting']}`" if row["selecting"] else ""
        said += f" Without knowing which pass, {_CHOICES[row['method']]}{by} reaches {_percent(row)}."
    return question, said


_CHOICES = {
    "majority": "a majority vote among as many",
    "best-of-majority": "the best of the frequent answers",
    "selected": "the best of as many",
}


def _percent(row: dict[str, object]) -> str:
    return f"{interval(estimate(row | {'reliable': True}, 'pass_rate').times(100))} %"


def closed_policies(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """The gain and the least KL of policies without log-probabilities, those that gain most first."""
    known = table.filter("reliable").sort("gain", descending=True)
    question = "Where are the policies without log-probabilities?"
    if not known.height:
        return (
            (question, f"Not reliable here. Reason: {most_frequent(table['reason'].to_list())}.")
            if len(table)
            else None
        )
    said = []
    for row in known.head(4).iter_rows(named=True):
        share = row["efficiency_at_most"]
        most = f", at most {100 * share:.0f} % of the limit" if row["limit_reliable"] and share < 1 else ""
        gain = f"{interval(estimate(row, 'gain'))} {unit_of(table, gold)}"
        said.append(f"{row['policy']} gains {gain} at a KL of at least {number(row['kl_at_least'])} nats{most}.")
    return question, " ".join(said)


ANSWERS: dict[str, Callable[[pl.DataFrame, str], tuple[str, str] | None]] = {
    "side_effects": side_effects,
    "cost": cost,
    "verifiable": verifiable,
    "label_noise": label_noise,
    "closed_policies": closed_policies,
    "length_control": length_control,
    **golds.ANSWERS,
}

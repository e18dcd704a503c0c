"""The report's sentences about several golds and other divergences; `tradeoffs` lists them with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from alignment_limits.report.headline import most_frequent, nats
from alignment_limits.report.numbers import Estimate, estimate, interval, number, unit_of
from alignment_limits.tradeoffs.compromises import WORST
from alignment_limits.tradeoffs.several_golds import COMBINED

WANTED_KL = 1.0  # nats; the nearest reliable row is spoken of
WANTED_N = 4
_NAMES = {"chi2": "χ²", "reverse-kl": "KL(base‖policy)", "renyi-inf": "the largest ratio"}


def golds(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """What equal weights gain in each of two golds, next to each alone."""
    tilts = table.filter((pl.col("method") == "tilt") & (pl.col("budget") == "average"))
    names = [name for name in tilts["evaluated"].unique(maintain_order=True) if name != COMBINED]
    equal = tilts.filter(pl.col("evaluated").is_in(names)).with_columns(_off=(pl.col("weight") - 1 / len(names)).abs())
    nearest = equal.group_by("point").agg(pl.col("_off").max()).sort("_off", "point")["point"][0]
    rows = equal.filter(pl.col("point") == nearest)
    sure = rows.group_by("kl").agg(pl.col("reliable").all()).filter("reliable")["kl"].to_list()
    question = "What can several golds gain at once?"
    if not sure:
        return question, f"No point of the Pareto front is reliable here. Reason: {most_frequent(_reasons(rows))}."
    kl = min(sure, key=lambda each: abs(each - WANTED_KL))
    parts = []
    for name in names:
        row = rows.filter((pl.col("evaluated") == name) & (pl.col("kl") == kl)).row(0, named=True)
        own = equal.filter((pl.col("evaluated") == name) & (pl.col("kl") == kl) & (pl.col("weight") == 1.0))
        alone = f" ({number(own['gain'][0])} if it alone is optimised)" if own.height else ""
        parts.append(f"{interval(estimate(row, 'gain'))} {unit_of(table, name)}{alone}")
    said = f"With about equal weights, the tilt gains at {nats(kl)}: {'; '.join(parts)}."
    return question, said


def compromises(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """What a constraint leaves of the gain, and what one policy can gain in every gold."""
    own = table.filter(pl.col("budget") == "average")
    said = []
    bound = own.filter((pl.col("kind") == "constraint") & (pl.col("evaluated") == pl.col("optimized")))
    if bound.height:
        goal = bound["optimized"][0]
        kept = own.filter((pl.col("kind") == "constraint") & (pl.col("evaluated") != goal))["evaluated"][0]
        row = _nearest(bound.filter(pl.col("at_most") == bound["at_most"].max()))
        said.append(
            f"No limit under the constraint on {kept} is reliable here. Reason: {most_frequent(_reasons(bound))}."
            if row is None
            else f"If {kept} may change by at most {_plain(row['at_most'])} {unit_of(table, kept)}, a policy can gain "
            f"{interval(estimate(row, 'gain'))} {unit_of(table, goal)} at {nats(row['kl'])}; without this constraint "
            f"{number(row['alone'])}."
        )
    worst = own.filter(pl.col("evaluated") == WORST)
    if worst.height:
        row = _nearest(worst)
        names = own.filter((pl.col("kind") == "worst") & (pl.col("evaluated") != WORST))["evaluated"].unique(
            maintain_order=True
        )
        said.append(
            f"The largest gain in every gold is not reliable here. Reason: {most_frequent(_reasons(worst))}."
            if row is None
            else f"One policy can gain {interval(estimate(row, 'gain'))} standard deviations in each of "
            f"{', '.join(names)} at {nats(row['kl'])}."
        )
    return ("What does a compromise leave?", " ".join(said)) if said else None


def divergences(table: pl.DataFrame, gold: str) -> tuple[str, str] | None:
    """How close best-of-n is to the limit in each divergence."""
    own = table.filter((pl.col("optimized") == gold) & pl.col("n").is_not_null())
    if own.is_empty():
        return None
    question = "How close is best-of-n in other divergences than KL?"
    parts, n = [], 0
    for kind in own["divergence"].unique(maintain_order=True):
        rows = own.filter((pl.col("divergence") == kind) & pl.col("reliable") & pl.col("best_of_n").is_finite())
        rows = rows.sort((pl.col("n") - WANTED_N).abs(), "budget")
        if rows.height and (not n or rows["n"][0] == n):
            row = rows.row(0, named=True)
            n = int(row["n"])
            name = _NAMES.get(kind, kind.replace("renyi-", "Rényi's of order ").replace("-", " "))
            parts.append(f"{interval(estimate(row, 'gain'))} in {name}")
            picked = Estimate(row["best_of_n"], row["best_of_n_low"], row["best_of_n_high"], True, "")
    if not parts:
        reasons = _reasons(own)
        why = f" Reason: {most_frequent(reasons)}." if reasons else " Scores tie, so best-of-n spends less."
        return question, f"No comparison is reliable here.{why}"
    gained = f"{interval(picked)} {unit_of(table, gold)}"
    return question, f"Best-of-{n} gains {gained}. The limits at what it spends are {', '.join(parts)}."


def _plain(value: float) -> str:
    """A setting as the study file has it, with a minus sign."""
    return f"{value:.3g}".replace("-", "−")


def _reasons(rows: pl.DataFrame) -> list[str]:
    return rows.filter(~pl.col("reliable"))["reason"].to_list()


def _nearest(rows: pl.DataFrame) -> dict[str, Any] | None:
    rows = rows.filter("reliable").sort((pl.col("kl") - WANTED_KL).abs())
    return rows.row(0, named=True) if rows.height else None


ANSWERS: dict[str, Callable[[pl.DataFrame, str], tuple[str, str] | None]] = {
    "golds": golds,
    "compromises": compromises,
    "divergences": divergences,
}

"""The headline numbers of a study as one table: value, 95% interval, unit, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from alignment_limits.report.numbers import Estimate, at_kl, best_of, estimate, peak, reference_kl, say_kl
from alignment_limits.tables.schemas.limits import HEADLINE

KLS = (0.5, 1.0, 2.0)  # nats per sequence; those the study tabulates
NS = (4, 16)
BASE_SD = "base s.d. of gold"


def headline(
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    over_optimisation: pl.DataFrame,
    agreement: pl.DataFrame,
    scales: pl.DataFrame,
    summary: pl.DataFrame | None,
    *,
    gold: str,
    proxies: Sequence[str],
    ensembles: Sequence[str] = (),
) -> pl.DataFrame:
    """Headline numbers in reading order.

    Args:
        over_optimisation: where gold peaks along both paths of every proxy and ensemble.
        summary: per prompt what the samples look like; None when only their scores are known.
        agreement: from `within_prompt_spearman`, for every proxy and ensemble.

    Returns:
        group, subject, quantity, value, low, high, unit, reliable, note. A value that is not tabulated or
        could not be reached is NaN, with the reason in `note`.
    """
    kl = reference_kl(frontier, gold)
    rows = [
        *_limits(frontier, gold),
        *_native(frontier, scales, gold, kl),
        *_best_of(best_of_n, gold),
        *(r for name in proxies for r in _under("proxy", name, frontier, over_optimisation, agreement, gold, kl)),
        *(r for name in ensembles for r in _under("ensemble", name, frontier, over_optimisation, agreement, gold, kl)),
        *(_samples(summary) if summary is not None else []),
    ]
    return pl.DataFrame(rows, schema=dict(HEADLINE.columns), orient="row")


def _row(group: str, subject: str, quantity: str, e: Estimate, unit: str, note: str = "") -> tuple[object, ...]:
    """One row; `note` is what the number means, to which the reason for distrust is added."""
    notes = "; ".join(x for x in (note, e.reason) if x)
    return (group, subject, quantity, e.value, e.low, e.high, unit, e.reliable, notes)


def _limits(frontier: pl.DataFrame, gold: str) -> list[tuple[object, ...]]:
    rows = []
    for budget in ("average", "per-prompt"):
        for kl in KLS:
            e = limit_at(frontier, gold, kl, budget)
            rows.append(_row("limit", gold, f"gain at KL {kl:g}, {budget} budget", e, BASE_SD))
    return rows


def limit_at(frontier: pl.DataFrame, gold: str, kl: float, budget: str = "average") -> Estimate:
    """Gold's limit at a KL; without a value where it is not reliable."""
    return _believed(at_kl(frontier, gold, gold, kl, budget))


def _believed(e: Estimate) -> Estimate:
    """The estimate if it is reliable, else only the reason why it is not."""
    return e if e.known else Estimate(reason=e.reason)


def _native(frontier: pl.DataFrame, scales: pl.DataFrame, gold: str, kl: float) -> list[tuple[object, ...]]:
    found = scales.filter(pl.col("reward") == gold)["scale"]
    scale = float(found[0]) if found.len() else math.nan
    one = Estimate(scale, reliable=math.isfinite(scale), reason="" if found.len() else "gold has no scale")
    gain = limit_at(frontier, gold, kl).times(scale)
    unit = "native units of gold"
    return [
        _row("units", gold, "one base s.d.", one, unit, "within-prompt spread on base samples"),
        _row("units", gold, f"gain at {say_kl(kl)}, average budget", gain, unit, "the reward's own scale"),
    ]


def _best_of(table: pl.DataFrame, gold: str) -> list[tuple[object, ...]]:
    rows = []
    for n in NS:
        found = {b: best_of(table, gold, gold, b).filter(pl.col("n") == n) for b in ("average", "per-prompt")}
        row = {b: t.row(0, named=True) if t.height else None for b, t in found.items()}
        any_row = row["average"] or row["per-prompt"]
        if any_row is None:
            continue
        subject = f"best-of-{n}"
        rows += [
            _row("best-of-n", subject, "gain", estimate(any_row, "gain"), BASE_SD),
            _row("best-of-n", subject, "KL", estimate(any_row, "kl"), "nats per sequence"),
        ]
        rows += [
            _row("best-of-n", subject, f"share of the limit, {b} budget", _believed(estimate(r, "efficiency")), "share")
            for b, r in row.items()
            if r is not None
        ]
    return rows


def _under(
    group: str,
    name: str,
    frontier: pl.DataFrame,
    over_optimisation: pl.DataFrame,
    agreement: pl.DataFrame,
    gold: str,
    kl: float,
) -> list[tuple[object, ...]]:
    """What optimising one proxy or ensemble does to gold."""
    gain, ideal = at_kl(frontier, name, gold, kl), limit_at(frontier, gold, kl)
    return [
        _row(group, name, "Spearman with gold", spearman(agreement, name), "within-prompt correlation"),
        _row(group, name, f"gold gain at {say_kl(kl)}", gain, BASE_SD),
        _row(group, name, f"share of the ideal at {say_kl(kl)}", gain / ideal, "share"),
        _row(group, name, "hacking onset", peak(over_optimisation, name, "tilt"), "nats per sequence"),
        _row(group, name, "stopping point of best-of-n", peak(over_optimisation, name, "best-of-n"), "draws"),
    ]


def spearman(agreement: pl.DataFrame, name: str) -> Estimate:
    """Mean within-prompt rank correlation of a reward with gold."""
    rows = agreement.filter(pl.col("reward") == name)
    if not rows.height or not math.isfinite(rows["spearman"][0]):
        return Estimate(reason="constant within every prompt")
    row = rows.row(0, named=True)
    return Estimate(row["spearman"], row["low"], row["high"], True, "")


def _samples(summary: pl.DataFrame) -> list[tuple[object, ...]]:
    """Counts, and shares weighted by each prompt's number of samples."""
    n = summary["n_samples"].cast(pl.Float64)
    total = float(n.sum())

    def mean(column: str) -> float:
        return float((summary[column] * n).sum()) / total if total else math.nan

    values = [
        ("prompts", float(summary.height), "prompts"),
        ("samples per prompt, fewest", float(n.min() if summary.height else 0), "samples"),  # type: ignore[arg-type]
        ("truncation rate", mean("truncation_rate"), "share of samples stopped by the token limit"),
        ("duplicates", 1 - mean("distinct_share"), "share of samples that repeat another of their prompt"),
        ("tokens per sample", mean("mean_tokens"), "tokens"),
    ]
    return [_row("samples", "base model", q, Estimate(v, reliable=True, reason=""), u) for q, v, u in values]

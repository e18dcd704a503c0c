"""The headline numbers of a study as one table, and the report's three questions with their answers.

A number has its 95% interval, its unit, and whether to believe it. The questions are: How much reward can the model
gain within a KL budget? How close do best-of-n and policies come? How much of the gain survives a wrong reward?
Each is answered in a sentence. A number that is not reliable is not given; the sentence says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from alignment_limits.report.numbers import (
    Estimate,
    at_kl,
    best_of,
    bracket,
    estimate,
    fixed_kl,
    interval,
    number,
    peak,
    reference_kl,
    say_kl,
    share_bounds,
    share_of_limit,
)
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
    tempered: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Headline numbers in reading order.

    Args:
        over_optimisation: where gold peaks along both paths of every proxy and ensemble.
        summary: per prompt what the samples look like; None when only their scores are known.
        agreement: from `within_prompt_spearman`, for every proxy and ensemble.
        tempered: `limits/tempered.parquet`, if the study has it.

    Returns:
        group, subject, quantity, value, low, high, unit, reliable, note, at_least, at_most (bounds of a limit). A value
        that is not tabulated or could not be reached is NaN, with the reason in `note`.
    """
    kl = reference_kl(frontier, gold)
    rows = [
        *_limits(frontier, gold),
        *(_tempered(tempered, gold) if tempered is not None else []),
        *_native(frontier, scales, gold, kl),
        *_best_of(best_of_n, gold),
        *(r for name in proxies for r in _under("proxy", name, frontier, over_optimisation, agreement, gold, kl)),
        *(r for name in ensembles for r in _under("ensemble", name, frontier, over_optimisation, agreement, gold, kl)),
        *(_samples(summary) if summary is not None else []),
    ]
    return pl.DataFrame(rows, schema=dict(HEADLINE.columns), orient="row")


def labelled(standardised: pl.DataFrame, rewards: Sequence[str]) -> pl.DataFrame:
    """The share of samples that have a score, for rewards that some lack."""
    lost = {name: standardised[name].null_count() / max(standardised.height, 1) for name in rewards}
    note = "its estimates are from the samples that have a score, which limits/labels.parquet tests"
    rows = [
        _row(
            "labels",
            name,
            f"with a score of {name}",
            Estimate(100 * (1 - share), reliable=True),
            "percent",
            note,
        )
        for name, share in lost.items()
        if share
    ]
    return pl.DataFrame(rows, schema=dict(HEADLINE.columns), orient="row")


def _row(group: str, subject: str, quantity: str, e: Estimate, unit: str, note: str = "") -> tuple[object, ...]:
    """One row; `note` is what the number means, to which the reason for distrust is added."""
    notes = "; ".join(x for x in (note, e.reason) if x)
    return (group, subject, quantity, e.value, e.low, e.high, unit, e.reliable, notes, e.at_least, e.at_most)


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


def _tempered(table: pl.DataFrame, gold: str) -> list[tuple[object, ...]]:
    """The tempering reward's limit at the largest KL, under both budgets, and gold's gain there if it is another."""
    rows = []
    for row in farthest(table).iter_rows(named=True):
        same, name = row["evaluated"] == row["optimized"], row["optimized"]
        quantity = f"gain at KL {row['kl']:g}, {row['budget']} budget, tempered sampling"
        quantity += "" if same else f" by {name}"
        unit = BASE_SD if row["evaluated"] == gold else f"base s.d. of {name}"
        rows.append(_row("limit", row["evaluated"], quantity, _believed(_bounded(row)), unit))
    return rows


def farthest(tempered: pl.DataFrame) -> pl.DataFrame:
    """The rows of `limits/tempered.parquet` at its largest budget: the KL that the study asked for."""
    rows = tempered.filter(pl.col("at") == "kl")
    return rows.filter(pl.col("kl") == pl.col("kl").max())


def _bounded(row: dict[str, object]) -> Estimate:
    """A limit with its bounds."""
    least, most = (float(row.get(name) or math.nan) for name in ("at_least", "at_most"))  # type: ignore[arg-type]
    return replace(estimate(row, "gain"), at_least=least, at_most=most)


def _believed(e: Estimate) -> Estimate:
    """The estimate if it is reliable, else only the reason why it is not, and its bounds."""
    return e if e.known else Estimate(reason=e.reason, at_least=e.at_least, at_most=e.at_most)


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
        drawn = {b: best_of(table, gold, gold, b).filter(pl.col("n") == n) for b in ("average", "per-prompt")}
        found = {b: share_bounds(rows) for b, rows in drawn.items()}
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
            _row("best-of-n", subject, f"share of the limit, {b} budget", _believed(share_of_limit(r)), "share")
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

    def mean(column: str) -> float:
        known = float(n.filter(summary[column].is_not_null()).sum())  # samples from elsewhere may not say it
        return float((summary[column] * n).sum()) / known if known else math.nan

    values = [
        ("prompts", float(summary.height), "prompts"),
        ("samples per prompt, fewest", float(n.min() if summary.height else 0), "samples"),  # type: ignore[arg-type]
        ("truncation rate", mean("truncation_rate"), "share of samples stopped by the token limit"),
        ("duplicates", 1 - mean("distinct_share"), "share of samples that repeat another of their prompt"),
        ("tokens per sample", mean("mean_tokens"), "tokens"),
    ]
    return [_row("samples", "base model", q, Estimate(v, reliable=True, reason=""), u) for q, v, u in values if v == v]


GAIN, CLOSE, WRONG = QUESTIONS = (
    "How much reward can the model gain within a KL budget?",
    "How close does each method come?",
    "How much survives a wrong reward?",
)
N = 4  # of the best-of-n that is spoken of, or the reliable n nearest to it


def answers(
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    scale: float,
    *,
    gold: str,
    proxies: Sequence[str],
    tempered: pl.DataFrame | None = None,
    raw: bool = False,
) -> list[tuple[str, str]]:
    """The three questions with their answers.

    Args:
        frontier, best_of_n: `limits/*.parquet`.
        scale: one base standard deviation of gold in its own units; NaN if unknown.
        tempered: `limits/tempered.parquet`, if the study has it.
        raw: whether gains are in gold's own units.
    """
    factor, unit = (scale, "units of gold") if raw else (1.0, "standard deviations of gold")
    kl = reference_kl(frontier, gold)
    gain = limit_at(frontier, gold, kl)
    said = (
        _gain(gain, kl, scale, _least(frontier, gold, factor, unit), raw)
        + ("" if tempered is None else further(tempered, gold, factor)),
        _close(best_of_n, gold),
        _wrong(frontier, gold, proxies, kl, gain),
    )
    return list(zip(QUESTIONS, said, strict=True))


def _gain(gain: Estimate, kl: float, scale: float, least: str, raw: bool) -> str:
    if not gain.known:
        return (
            f"These samples give no reliable limit at any KL. Reason: {gain.reason}. {least}The command make plan "
            "computes how many prompts and samples are needed."
        )
    own = gain.times(scale).value
    if raw:
        gained = interval(gain.times(scale))
        return f"Within {nats(kl)} of KL from the base model, the best possible policy gains {gained} units of gold."
    native = f", which is {number(own)} in gold's own units" if math.isfinite(own) and scale != 1 else ""
    return (
        f"Within {nats(kl)} of KL from the base model, the best possible policy gains {interval(gain)} standard "
        f"deviations of gold{native}."
    )


def _least(frontier: pl.DataFrame, gold: str, factor: float, unit: str, wanted: float = 1.0) -> str:
    """The bounds at the KL nearest to the one wanted, as a sentence; empty if the table has none."""
    rows = fixed_kl(frontier, gold, gold)
    if "at_least" not in rows.columns or not (rows := rows.filter(pl.col("at_least").fill_nan(None) > 0)).height:
        return ""
    row = rows.sort((pl.col("kl") - wanted).abs()).row(0, named=True)
    said = bracket(factor * row["at_least"], factor * (row.get("at_most") or math.nan))
    which = "bounds that hold" if "at most" in said else "a lower bound that holds"
    return f"Within {nats(row['kl'])} of KL the best possible policy gains {said} {unit} ({which} for any tail). "


def further(tempered: pl.DataFrame, gold: str, factor: float = 1.0) -> str:
    """What tempered sampling adds to the first answer, a sentence; empty if it was done for another reward.

    Args:
        tempered: `limits/tempered.parquet`.
        factor: of gains, for other units.
    """
    rows = farthest(tempered).filter(
        (pl.col("optimized") == gold) & (pl.col("evaluated") == gold) & (pl.col("budget") == "average")
    )
    if not rows.height:
        return ""
    row = rows.row(0, named=True)
    found, kl = _bounded(row).times(factor), nats(row["kl"])
    if found.known:
        return f" Replies drawn from the tilt itself show more: within {kl} it gains {interval(found)}."
    said = bracket(found.at_least, found.at_most)
    known = f" It gains {said} there." if said else ""
    return f" Tempered sampling gives no reliable limit at {kl}. Reason: {found.reason}.{known}"


def nats(kl: float) -> str:
    """`1 nat`, `0.5 nats`."""
    return f"{kl:g} nat" if kl == 1 else f"{kl:g} nats"


_AVERAGE, _PER_PROMPT = "the limit at that KL", "the limit of policies that spend that KL on every prompt"


def _close(table: pl.DataFrame, gold: str) -> str:
    """One n: of the average budget where a share is reliable, else of the per-prompt one."""
    reasons: list[str] = []
    for budget, limit in (("average", _AVERAGE), ("per-prompt", _PER_PROMPT)):
        rows = {int(row["n"]): row for row in best_of(table, gold, gold, budget).iter_rows(named=True)}
        shares = {n: estimate(row, "efficiency") for n, row in rows.items()}
        known = [n for n, share in shares.items() if share.known]
        if known:
            n = min(known, key=lambda n: abs(math.log(n / N)))
            spent = estimate(rows[n], "kl").value
            return (
                f"Best-of-{n} spends {number(spent)} nats of KL and reaches {interval(shares[n], percent=True)} of "
                f"{limit}."
            )
        reasons += [share.reason for share in shares.values()]
    if not reasons:
        return "The study has no best-of-n."
    return f"The share of the limit that best-of-n reaches is not reliable at any n. Reason: {most_frequent(reasons)}."


def most_frequent(reasons: Sequence[str]) -> str:
    """The reason that occurs most often; of several the first by name."""
    return min(set(reasons), key=lambda reason: (-reasons.count(reason), reason))


def _wrong(frontier: pl.DataFrame, gold: str, proxies: Sequence[str], kl: float, gain: Estimate) -> str:
    if not proxies:
        return "The study has no proxies, so it does not answer this question."
    shares = {name: at_kl(frontier, name, gold, kl) / gain for name in proxies}
    known = sorted((name for name, share in shares.items() if share.known), key=lambda name: -shares[name].value)
    if not known:
        reason = most_frequent([share.reason for share in shares.values()])
        each = "the proxy" if len(proxies) == 1 else f"any of the {len(proxies)} proxies"
        return f"The share of the gain that survives is not reliable for {each}. Reason: {reason}."
    parts = [_keeps(shares, name) for name in dict.fromkeys((known[0], known[-1]))]
    lost = [name for name in proxies if name not in known]
    which = f" ({lost[0]})" if len(lost) == 1 else ""
    rest = f"; for {_count(len(lost))}{which} the share is not reliable" if lost else ""
    among = f", the best and the worst of {len(known)} proxies" if len(known) > 2 else ""
    return f"Optimising a proxy up to {nats(kl)} keeps {' and '.join(parts)}{among}{rest}."


def _keeps(shares: Mapping[str, Estimate], name: str) -> str:
    return f"{interval(shares[name], percent=True)} of that gain with {name}"


def _count(others: int) -> str:
    return "one other proxy" if others == 1 else f"{others} other proxies"


def policies(table: pl.DataFrame, gold: str) -> str:
    """A sentence on the share of gold's limit that policies reach, to follow the second answer; empty without policies.

    Args:
        table: `policies/policies.parquet`.
    """
    rows = table.filter(pl.col("evaluated") == gold)
    shares = {str(row["policy"]): estimate(row, "efficiency") for row in rows.iter_rows(named=True)}
    known = sorted((name for name, share in shares.items() if share.known), key=lambda name: shares[name].value)
    if not shares:
        return ""
    if not known:
        return (
            f"No policy's share of the limit is reliable. Reason: {most_frequent([s.reason for s in shares.values()])}."
        )
    worst, best = (f"{interval(shares[name], percent=True)} ({name})" for name in (known[0], known[-1]))
    cut = _cut_short(rows)
    if len(known) == 1:
        return f"The policy {known[0]} reaches {interval(shares[known[0]], percent=True)} of the limit at its KL.{cut}"
    return f"{len(known)} policies reach between {worst} and {best} of the limit at their KL.{cut}"


def _cut_short(rows: pl.DataFrame) -> str:
    """A sentence on the policies whose training ended before it converged."""
    ends = rows["ended"].to_list() if "ended" in rows.columns else []
    cut, ruled = ends.count("cut short"), ends.count("cut short") + ends.count("converged")
    return f" Training was cut short before it converged for {cut} of {ruled} policies." if cut else ""

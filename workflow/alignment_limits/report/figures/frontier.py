"""The frontier of one study or of several: how much gold a policy can gain at each KL, how close best-of-n comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from alignment_limits.report.figures import curves
from alignment_limits.report.figures.curves import Curve, curve, draw, furthest_curve, ordered, rising
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    BOUNDS,
    GAIN,
    GREY,
    HATCHED,
    INK,
    KL,
    LINE,
    PER_PROMPT,
    POOLED,
    SHADE,
    Look,
    fold,
    nothing_reliable,
    outside_key,
)
from alignment_limits.report.numbers import bounded_by_one, share_bounds, verdict, verdict_of

LOWEST_BOUND = 0.5  # the axis of shares goes no further down for a bound
PREDICTED = "predicted-best-of-n"  # method of rows with more draws than samples

_BOUNDED = {"average": "on average", "per-prompt": "per prompt"}
_AREAS: Mapping[str, dict[str, Any]] = {  # where a budget is not reliable
    "average": {"facecolor": SHADE, "lw": 0},
    "per-prompt": {"facecolor": "none", "edgecolor": HATCHED, "hatch": "////", "lw": 0},
}


def frontier(table: pl.DataFrame, best_of_n: pl.DataFrame, look: Look, *, sigma: float = 1.0) -> Figure:
    """Gold optimised and evaluated: the limit in both budgets, its bounds, and best-of-n.

    Above: gain (base standard deviations of gold) against KL (nats per sequence). Below, where there is
    best-of-n: the share of the limit it reaches at its own KL. What is not reliable is dashed or paler, and its range
    is shaded, grey for the average budget, hatched for the per-prompt one. Estimates that contradict an identity are
    not drawn, and the figure says which: a limit falls with KL or is below best-of-n, the per-prompt limit is
    above the average one, a share is above 1.

    Args:
        table: `limits/frontier.parquet`.
        best_of_n: `limits/best_of_n.parquet`; may be empty.
        sigma: variance proxy of the bound σ√(2κ), in base standard deviations.
    """
    gold = look.gold
    points = best_of_n.filter(
        (pl.col("optimized") == gold)
        & (pl.col("evaluated") == gold)
        & (pl.col("method") == "best-of-n")
        & (pl.col("n") > 1)
        & pl.col("gain").is_finite()
    ).sort("n")
    further = _predicted(best_of_n, gold, points)
    reached = points.filter(verdict(points, "gain")).select("kl", "gain").rows()
    raw = {b: furthest_curve(table, gold, b) for b in ("average", "per-prompt")}
    alone = curve(table, gold, gold).reach
    average, per_prompt = ordered(rising(raw["average"], reached), rising(raw["per-prompt"]))
    limits = {"average": average, "per-prompt": per_prompt}
    shares, impossible = _possible(points)
    note = _not_drawn(raw, limits, impossible)
    ceiling = float(table["log_m"].min())  # type: ignore[arg-type]
    with look.applied():
        figure = look.figure(height=min(0.98 * look.width, 4.4) * (1 if points.height else 0.77))
        if points.height:
            top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.15])
            bounded_shares = _shares(bottom, shares, points)
        else:
            top = bottom = figure.subplots()
            bounded_shares = False
        right = _right(raw["average"], pl.concat([points, further], how="diagonal"), ceiling)
        top.set_xlim(0, right)
        _bound(top, sigma, right)
        draw(top, per_prompt, colour=PER_PROMPT, name="per-prompt", width=0.8, band=0, under=average)
        draw(top, average, colour=INK, name="average", width=1.5)
        pooled = average.reliable & (average.kl > alone)
        if pooled.any():
            (marks,) = top.plot(average.kl[pooled], average.gain[pooled], **POOLED)
            marks.set_gid("pooled")
        lost = curves.unreliable_rows(table, gold, raw["average"]).filter(pl.col("kl") <= right)
        top.set_ylim(0, _top(average, per_prompt, pl.concat([points, further], how="diagonal"), lost))
        bounded = curves.draw_bounds(top, lost)
        _best_of(top, points, look)
        if further.height:
            _draw_predicted(top, points, further, look)
        for ax in {top, bottom}:
            for budget, c in limits.items():
                _unreliable(ax, c, right, budget)
            _ceiling(ax, ceiling, right, look, name=ax is top)
        if not (average.reach or per_prompt.reach):
            own = table.filter((pl.col("optimized") == gold) & (pl.col("evaluated") == gold))
            nothing_reliable(top, own, "gain", look)
        bounded = bounded or ("bounds of the share of the limit" if bounded_shares else "")
        handles = _handles(sigma, limits, bool(points.height), bool(pooled.any()), bounded, bool(further.height))
        outside_key(figure, handles, look)
        top.set_ylabel(GAIN)
        bottom.set_xlabel(KL)
        if note:
            text = fold(note, look)
            figure.set_figheight(figure.get_figheight() + LINE * (text.count("\n") + 1) * look.small / 72)
            figure.supxlabel(text, fontsize=look.small)
    return figure


def _predicted(table: pl.DataFrame, gold: str, points: pl.DataFrame) -> pl.DataFrame:
    """Reliable predictions of best-of-n up to four times the samples, if the largest n drawn is reliable."""
    own = (pl.col("optimized") == gold) & (pl.col("evaluated") == gold) & (pl.col("method") == PREDICTED)
    rows = table.filter(own).sort("n")
    rows = rows.filter(verdict(rows, "gain") & verdict(rows, "kl"))
    if not (rows.height and points.height and verdict_of(points.row(-1, named=True), "gain")):
        return rows.clear()
    return rows.filter(pl.col("n") <= 2 * pl.col("n").min())  # the smallest is twice the samples


_PREDICTED: dict[str, Any] = {"color": BEST_OF_N, "ls": (0, (1, 1.5)), "lw": 1.0, "marker": "o", "ms": 3.2}
_PREDICTED |= {"mfc": "white", "mew": 0.7}


def _draw_predicted(ax: Any, points: pl.DataFrame, further: pl.DataFrame, look: Look) -> None:
    """Open points on a dotted line from the largest n that was drawn, and a band of their intervals."""
    path = pl.concat([points.tail(1), further], how="diagonal")
    x, y, low, high = (path[c].to_numpy() for c in ("kl", "gain", "gain_low", "gain_high"))
    ax.fill_between(x, low, high, color=BEST_OF_N, alpha=0.18, lw=0, zorder=2)
    ax.plot(x, y, **_PREDICTED, markevery=slice(1, None), zorder=5)[0].set_gid("predicted")
    for kl, gain, n in further.select("kl", "gain", "n").iter_rows():
        ax.annotate(
            f"{n}", (kl, gain), xytext=(0, -8), textcoords="offset points", va="top", ha="center", fontsize=look.small,
            color=BEST_OF_N, zorder=6,
        )  # fmt: skip


def _possible(points: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Shares of the limit, none above 1 where that is impossible, and those that cannot be drawn so.

    A reliable share whose interval holds 1 is drawn at 1 where noise puts it higher.
    """
    shown = points.filter(pl.col("efficiency").is_finite())
    above = (pl.col("efficiency") > 1) & bounded_by_one()
    noise = verdict(points, "efficiency") & ~(pl.col("efficiency_low") > 1).fill_null(False)
    lost = shown.filter(above & ~noise)
    capped = [pl.when(above).then(pl.min_horizontal(c, pl.lit(1.0))).otherwise(c).alias(c) for c in _SHARE]
    kept = shown.filter(~(above & ~noise)).with_columns(capped)
    named = [
        f"{b} share of n = {', '.join(map(str, part['n']))}"
        for (b,), part in lost.group_by(["budget"], maintain_order=True)
    ]
    return kept, named


_SHARE = ("efficiency", "efficiency_low", "efficiency_high")


def _not_drawn(raw: Mapping[str, Curve], drawn: Mapping[str, Curve], shares: Sequence[str]) -> str:
    """Which estimates contradict an identity, in words; empty if none does."""
    parts = []
    for budget, c in raw.items():
        lost = c.kl[np.isfinite(c.gain) & ~np.isfinite(drawn[budget].gain)]
        if lost.size:
            ends = dict.fromkeys(f"{kl:.3g}" for kl in (lost[0], lost[-1]))
            parts.append(f"{budget} limit at KL {' to '.join(ends)}")
    parts += shares
    return f"Not drawn, because no limit can have these values: {'; '.join(parts)}." if parts else ""


def _right(c: Curve, points: pl.DataFrame, ceiling: float) -> float:
    """End of the KL axis: the ceiling when the data come near it, else just past the data."""
    data = max(c.end, *points["kl"].to_list(), 0.1) if points.height else max(c.end, 0.1)
    return max(ceiling, data) * 1.03 if ceiling <= 1.6 * data else data * 1.12


def _top(a: Curve, b: Curve, points: pl.DataFrame, bounded: pl.DataFrame) -> float:
    drawn = [a.gain, a.high, b.gain, points["gain"].to_numpy(), points["gain_high"].to_numpy()]
    return 1.15 * curves.with_bounds(max(0.1, float(np.nanmax(np.concatenate(drawn)))), bounded)


def _bound(ax: Any, sigma: float, right: float) -> None:
    x = np.linspace(0, np.sqrt(right), 200) ** 2
    (line,) = ax.plot(x, sigma * np.sqrt(2 * x), color=GREY, lw=0.8, ls=":", zorder=1.5)
    line.set_gid("bound")


def _best_of(ax: Any, points: pl.DataFrame, look: Look) -> None:
    """Points with error bars (paler where not reliable), labelled by n where there is room; axes have their limits."""
    named: list[tuple[float, float]] = []
    rows = points.unique("n", keep="first", maintain_order=True)  # one row per budget: same gain and KL
    for row in rows.iter_rows(named=True):
        alpha = 1.0 if verdict_of(row, "gain") else 0.4
        bar = ax.errorbar(
            row["kl"],
            row["gain"],
            yerr=_bar(row, "gain"),
            fmt="o",
            color=BEST_OF_N,
            ms=3.2,
            mew=0,
            elinewidth=0.9,
            alpha=alpha,
            zorder=5,
        )
        bar.lines[0].set_gid(f"best-of-{row['n']}")
        if not _apart(ax, row, named, look):
            continue
        text = f"n = {row['n']}" if not named else f"{row['n']}"
        named.append((row["kl"], row["gain"]))
        low = row["gain"] < 0.08 * ax.get_ylim()[1]  # no room below
        ax.annotate(
            text,
            (row["kl"], row["gain"]),
            xytext=(3.5, 0) if low else (3.5, -2.5),
            textcoords="offset points",
            va="bottom" if low else "top",
            ha="left",
            fontsize=look.small,
            color=BEST_OF_N,
            zorder=6,
            alpha=max(alpha, 0.7),
        )


def _apart(ax: Any, row: dict[str, Any], named: Sequence[tuple[float, float]], look: Look) -> bool:
    """Whether a point is far enough from the last one that is named for a name of its own."""
    if not named:
        return True
    wide, high = 0.8 * 72 * look.width / ax.get_xlim()[1], 0.45 * 72 * look.width / ax.get_ylim()[1]
    (kl, gain), first = named[-1], len(named) == 1
    across, up = wide * (row["kl"] - kl), high * abs(row["gain"] - gain)
    return bool(across > look.small * (3.2 if first else 1.6) or up > 1.5 * look.small)


def _bar(row: dict[str, Any], name: str) -> np.ndarray:
    """Lengths below and above for an error bar; zero where there is no interval."""
    low, mid, high = (float(np.nan if row[k] is None else row[k]) for k in (f"{name}_low", name, f"{name}_high"))
    return np.clip(np.nan_to_num(np.array([[mid - low], [high - mid]])), 0, None)


def _shares(ax: Any, shown: pl.DataFrame, points: pl.DataFrame) -> bool:
    """Best-of-n's share of the limit at its own KL, for both budgets; bounds where a share is not reliable, if any."""
    ax.axhline(1, color=INK, lw=0.8, zorder=1)
    doubtful = share_bounds(points.filter(~verdict(points, "efficiency")))
    doubtful = doubtful.filter((pl.col("share_at_least") > 0) | (pl.col("share_at_most") < 1))
    for budget, marker, colour, shift in (("average", "o", INK, -1.6), ("per-prompt", "s", PER_PROMPT, 1.6)):
        move = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
        for row in shown.filter(pl.col("budget") == budget).iter_rows(named=True):
            bar = ax.errorbar(
                row["kl"],
                row["efficiency"],
                yerr=_bar(row, "efficiency"),
                fmt=marker,
                color=colour,
                ms=2.8,
                mew=0,
                elinewidth=0.8,
                alpha=1.0 if verdict_of(row, "efficiency") else 0.35,
                transform=move,
                zorder=4,
            )
            bar.lines[0].set_gid(f"share:{budget}:{row['n']}")
        for row in doubtful.filter(pl.col("budget") == budget).iter_rows(named=True):
            ends = [row["share_at_least"] or 0.0, *([row["share_at_most"]] if row["share_at_most"] else [])]
            (line,) = ax.plot([row["kl"]] * len(ends), ends, **BOUNDS | {"color": colour}, transform=move)
            line.set_gid(f"share-bounds:{budget}:{row['n']}")
    trusted = shown.filter(verdict(shown, "efficiency"))
    used = trusted if trusted.height else shown
    lows = [*used["efficiency"].to_list(), *used["efficiency_low"].drop_nans().drop_nulls().to_list()]
    for column in ("share_at_least", "share_at_most"):
        lows += doubtful[column].drop_nulls().clip(lower_bound=LOWEST_BOUND).to_list()
    high = max([1.0, *used["efficiency_high"].drop_nans().drop_nulls().to_list()])
    ax.set_ylim(max(0.0, min([0.9, *lows]) - 0.03), min(high, 1.3) + 0.03)
    ax.set_ylabel("best-of-n,\nshare of limit")
    return bool(doubtful.height)


def _unreliable(ax: Any, c: Curve, right: float, budget: str) -> None:
    """Mark the axis wherever a tabulated budget is not reliable, up to its reliable neighbours."""
    for start, end in c.doubtful:
        ax.axvspan(start, min(end, right), zorder=0, **_AREAS[budget]).set_gid(f"unreliable:{budget}")


def _ceiling(ax: Any, ceiling: float, right: float, look: Look, *, name: bool) -> None:
    """The line at log M, which no estimate from M samples can pass; an arrow when it is off the axis."""
    if not np.isfinite(ceiling):
        return
    inside = ceiling <= right
    if inside:
        ax.axvline(ceiling, color=GREY, lw=0.9, zorder=1).set_gid("ceiling")
    if name:
        ax.annotate(
            rf"$\log\,M = {ceiling:.1f}$" if inside else rf"$\log\,M = {ceiling:.1f}\rightarrow$",
            (ceiling if inside else right, 0.98 if inside else 0.45),
            xycoords=ax.get_xaxis_transform(),
            xytext=(-2, 0),
            textcoords="offset points",
            va="top" if inside else "bottom",
            ha="right",
            rotation=90 if inside else 0,
            color=GREY,
            fontsize=look.small,
            zorder=6,
        )


def _handles(
    sigma: float, limits: Mapping[str, Curve], points: bool, pooled: bool, bounded: str, predicted: bool
) -> list[Any]:
    """The key: what is drawn, and for each budget where it is not reliable."""
    times = "" if sigma == 1 else f"{sigma:.2g}"
    handles: list[Any] = [
        Line2D([], [], color=GREY, lw=0.8, ls=":", label=rf"${times}\sqrt{{2\,\mathrm{{KL}}}}$"),
        Line2D([], [], color=INK, lw=1.5, label="limit, KL bounded on average"),
        Line2D([], [], color=PER_PROMPT, lw=0.8, label="limit, KL bounded per prompt"),
    ]
    if pooled:
        handles.append(Line2D([], [], **POOLED, label="limit, with samples of policies"))
    if bounded:
        handles.append(Line2D([], [], **BOUNDS, label=bounded))
    if points:
        handles.append(Line2D([], [], color=BEST_OF_N, marker="o", ms=3.2, mew=0, lw=0.9, label="best-of-n"))
    if predicted:
        handles.append(Line2D([], [], **_PREDICTED, label="best-of-n, predicted"))
    for budget, c in limits.items():
        if c.doubtful:
            handles.append(Patch(**_AREAS[budget], label=f"not reliable ({_BOUNDED[budget]})"))
    return handles

"""The frontier: the most gold reward a policy can gain at each KL, and how close best-of-n comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from alignment_limits.figures.curves import Curve, curve, draw
from alignment_limits.figures.style import BEST_OF_N, GREY, INK, PER_PROMPT, SHADE, Look


def frontier(table: pl.DataFrame, best_of_n: pl.DataFrame, look: Look, *, sigma: float = 1.0) -> Figure:
    """Gold optimised and evaluated: the limit in both budgets, its bounds, and best-of-n beside it.

    Above: gain (base standard deviations of gold) against KL (nats per sequence). Below, where there is
    best-of-n: the share of the limit it reaches at its own KL. What is not reliable is dashed or paler, and
    the region is shaded; nothing is drawn past the last estimate.

    Args:
        table: `limits/frontier.parquet`.
        best_of_n: `limits/best_of_n.parquet`; may be empty.
        sigma: variance proxy of the bound σ√(2κ), in base standard deviations.
    """
    gold = look.gold
    average, per_prompt = (curve(table, gold, gold, b) for b in ("average", "per-prompt"))
    points = best_of_n.filter(
        (pl.col("optimized") == gold)
        & (pl.col("evaluated") == gold)
        & (pl.col("method") == "best-of-n")
        & (pl.col("n") > 1)
        & pl.col("gain").is_finite()
    ).sort("n")
    ceiling = float(table["log_m"].min())  # type: ignore[arg-type]
    with look.applied():
        figure = look.figure(height=min(0.98 * look.width, 4.4) * (1 if points.height else 0.77))
        if points.height:
            top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.15])
            _shares(bottom, points, look)
        else:
            top = bottom = figure.subplots()
        right = _right(average, points, ceiling)
        top.set_xlim(0, right)
        _bound(top, sigma, right)
        draw(top, per_prompt, colour=PER_PROMPT, name="per-prompt", width=0.8, band=0)
        draw(top, average, colour=INK, name="average", width=1.5)
        _best_of(top, points, look)
        top.set_ylim(0, _top(average, per_prompt, points))
        for ax in {top, bottom}:
            _unreliable(ax, average, right, look, name=ax is top)
            _ceiling(ax, ceiling, right, look, name=ax is top)
        _legend(top, sigma, bool(points.height), edge=min(ceiling / right, 1.0))
        top.set_ylabel("gain in gold (base s.d.)")
        bottom.set_xlabel("KL from the base model (nats per sequence)")
    return figure


def _right(c: Curve, points: pl.DataFrame, ceiling: float) -> float:
    """End of the KL axis: the ceiling when the data come near it, else just past the data."""
    data = max(c.end, *points["kl"].to_list(), 0.1) if points.height else max(c.end, 0.1)
    return ceiling * 1.03 if ceiling <= 1.6 * data else data * 1.12


def _top(a: Curve, b: Curve, points: pl.DataFrame) -> float:
    drawn = [a.gain, a.high, b.gain, points["gain"].to_numpy(), points["gain_high"].to_numpy()]
    return 1.15 * max(0.1, float(np.nanmax(np.concatenate(drawn))))


def _bound(ax: Any, sigma: float, right: float) -> None:
    x = np.linspace(0, np.sqrt(right), 200) ** 2
    (line,) = ax.plot(x, sigma * np.sqrt(2 * x), color=GREY, lw=0.8, ls=":", zorder=1.5)
    line.set_gid("bound")


def _best_of(ax: Any, points: pl.DataFrame, look: Look) -> None:
    """Points with error bars (paler where not reliable), labelled by n."""
    rows = points.unique("n", keep="first", maintain_order=True)  # one row per budget: same gain and KL
    for row in rows.iter_rows(named=True):
        alpha = 1.0 if row["reliable"] else 0.4
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
        text = f"n = {row['n']}" if row["n"] == rows["n"][0] else f"{row['n']}"
        ax.annotate(
            text,
            (row["kl"], row["gain"]),
            xytext=(3.5, -2.5),
            textcoords="offset points",
            va="top",
            ha="left",
            fontsize=look.small,
            color=BEST_OF_N,
            zorder=6,
            alpha=max(alpha, 0.7),
        )


def _bar(row: dict[str, Any], name: str) -> np.ndarray:
    """Lengths below and above for an error bar; zero where there is no interval."""
    low, mid, high = (float(np.nan if row[k] is None else row[k]) for k in (f"{name}_low", name, f"{name}_high"))
    return np.clip(np.nan_to_num(np.array([[mid - low], [high - mid]])), 0, None)


def _shares(ax: Any, points: pl.DataFrame, look: Look) -> None:
    """Best-of-n's share of the limit at its own KL, for both budgets."""
    ax.axhline(1, color=INK, lw=0.8, zorder=1)
    shown = points.filter(pl.col("efficiency").is_finite())
    for budget, marker, colour, shift in (("average", "o", INK, -1.6), ("per-prompt", "s", PER_PROMPT, 1.6)):
        for row in shown.filter(pl.col("budget") == budget).iter_rows(named=True):
            move = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
            bar = ax.errorbar(
                row["kl"],
                row["efficiency"],
                yerr=_bar(row, "efficiency"),
                fmt=marker,
                color=colour,
                ms=2.8,
                mew=0,
                elinewidth=0.8,
                alpha=1.0 if row["reliable"] else 0.35,
                transform=move,
                zorder=4,
            )
            bar.lines[0].set_gid(f"share:{budget}:{row['n']}")
    trusted = shown.filter(pl.col("reliable"))
    used = trusted if trusted.height else shown
    low = min([0.9, *used["efficiency"].to_list(), *used["efficiency_low"].drop_nans().drop_nulls().to_list()])
    high = max([1.0, *used["efficiency_high"].drop_nans().drop_nulls().to_list()])
    ax.set_ylim(max(0.0, low - 0.03), min(high, 1.3) + 0.03)
    ax.set_ylabel("share\nof limit")


def _unreliable(ax: Any, c: Curve, right: float, look: Look, *, name: bool) -> None:
    """Shade the axis wherever a tabulated budget is not reliable, up to its reliable neighbours."""
    for start, end in c.doubtful:
        ax.axvspan(start, min(end, right), color=SHADE, lw=0, zorder=0).set_gid("unreliable")
    if name and c.doubtful and not np.isfinite(c.doubtful[-1][1]):
        ax.text(
            c.reach,
            0.98,
            " not reliable",
            transform=ax.get_xaxis_transform(),
            va="top",
            ha="left",
            color=GREY,
            fontsize=look.small,
            zorder=6,
        )


def _ceiling(ax: Any, ceiling: float, right: float, look: Look, *, name: bool) -> None:
    """The line at log M, which no estimate from M samples can pass; an arrow when it lies off the axis."""
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


def _legend(ax: Any, sigma: float, points: bool, *, edge: float) -> None:
    """Key at the lower right, left of the ceiling; a frontier is concave, so it never comes there."""
    times = "" if sigma == 1 else f"{sigma:.2g}"
    handles = [
        Line2D([], [], color=GREY, lw=0.8, ls=":", label=rf"${times}\sqrt{{2\,\mathrm{{KL}}}}$"),
        Line2D([], [], color=INK, lw=1.5, label="limit, average KL"),
        Line2D([], [], color=PER_PROMPT, lw=0.8, label="limit, per-prompt KL"),
    ]
    if points:
        handles.append(Line2D([], [], color=BEST_OF_N, marker="o", ms=3.2, mew=0, lw=0.9, label="best-of-n"))
    ax.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(edge, 0),
        handlelength=1.6,
        labelspacing=0.25,
        borderaxespad=0.4,
        handletextpad=0.5,
    )

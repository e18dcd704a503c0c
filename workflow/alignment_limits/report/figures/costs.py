"""What a reward costs, best-of-n's shortfall, what noisy judgements hide, policies without log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from alignment_limits.report.figures.curves import Curve, curve, draw
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    DASHED,
    GAIN,
    INK,
    KL,
    PER_PROMPT,
    SHADE,
    Look,
    label,
    outside_key,
    panel_title,
)

_RULES: dict[str, dict[str, Any]] = {
    "best-of-n": {"color": BEST_OF_N, "marker": "o", "label": "best-of-n"},
    "n-per-prompt": {"color": PER_PROMPT, "marker": "^", "label": "best n for each prompt"},
    "stopping": {"color": INK, "marker": "s", "label": "stopping rule"},
}
_PARTS = {"not_tilt": ("not the tilt", "#8a8a8a"), "same_n": ("same n for all", "#cbdfec")}


def cost(table: pl.DataFrame, look: Look) -> Figure:
    """Above: gold's gain against the mean cost of a reply, for three rules by gold. Below: best-of-n's shortfall.

    What is not reliable is hollow above and hatched below.

    Args:
        table: `tradeoffs/cost.parquet`.
        look: size and colours.
    """
    own = table.filter((pl.col("optimized") == look.gold) & (pl.col("evaluated") == look.gold)).sort("n")
    tokens = own["tokens"].is_finite().any()
    parts = own.filter((pl.col("method") == "best-of-n") & (pl.col("n") > 1) & pl.col("limit").is_finite())
    with look.applied():
        figure = look.figure(height=min(1.2 * look.width, 5.0) if parts.height else 0.75 * look.width)
        axes = figure.subplots(
            2 if parts.height else 1, 1, height_ratios=[1.7, 1] if parts.height else None, squeeze=False
        )
        top = axes[0, 0]
        if not own.height:
            top.text(0.5, 0.5, "Too few samples for each prompt.", ha="center", va="center", transform=top.transAxes)
        for rule, style in _RULES.items():
            _line(top, own.filter(pl.col("method") == rule), "tokens" if tokens else "draws", rule, style)
        top.set_xscale("log")
        for axis in (top.xaxis.set_major_formatter, top.xaxis.set_minor_formatter):
            axis(FuncFormatter(lambda x, _: f"{x:g}" if f"{x:g}"[0] in "125" else ""))
        top.set_xlabel("new tokens drawn for one reply, mean" if tokens else "draws for one reply, mean")
        top.set_ylabel(GAIN)
        top.set_ylim(0, None)
        handles: list[Any] = [Line2D([], [], ms=3.2, lw=1.0, **style) for style in _RULES.values()]
        if parts.height:
            _shares(axes[1, 0], parts)
            handles += [Patch(facecolor=colour, label=text) for text, colour in _PARTS.values()]
        outside_key(figure, handles, look)
    return figure


def _line(ax: Any, rows: pl.DataFrame, x: str, rule: str, style: dict[str, Any]) -> None:
    """Points with their intervals, joined where both ends are reliable and by dashes elsewhere."""
    rows = rows.filter(pl.col("gain").is_finite())
    look = {"color": style["color"], "marker": style["marker"], "ms": 3.2, "ls": ""}
    ax.vlines(rows[x], rows["gain_low"], rows["gain_high"], color=style["color"], lw=0.7, alpha=0.6, zorder=3)
    sure = rows["reliable"].to_list()
    for left, right in zip(range(rows.height - 1), range(1, rows.height), strict=True):
        both = sure[left] and sure[right]
        pair = rows[left : right + 1]
        ax.plot(pair[x], pair["gain"], color=style["color"], lw=1.0 if both else 0.6, ls="-" if both else DASHED)
    for reliable in (True, False):
        part = rows.filter(pl.col("reliable") == reliable)
        (dots,) = ax.plot(part[x], part["gain"], zorder=4, mfc=style["color"] if reliable else "white", **look)
        dots.set_gid(rule if reliable else f"{rule}:unreliable")


def _shares(ax: Any, parts: pl.DataFrame) -> None:
    """Bars: the two parts of the shortfall, as shares of the limit."""
    names = [str(n) for n in parts["n"]]
    bottom = [0.0] * parts.height
    for column, (_, colour) in _PARTS.items():
        heights = (100 * parts[column].clip(0) / parts["limit"]).to_list()
        bars = ax.bar(names, heights, bottom=bottom, color=colour, width=0.66, zorder=3, lw=0)
        for bar, reliable in zip(bars, parts["shortfall_reliable"], strict=True):
            bar.set_gid(column if reliable else f"{column}:unreliable")
            if not reliable:
                bar.set(hatch="////", edgecolor="white", alpha=0.6)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    ax.set_xlabel("n of best-of-n")
    ax.set_ylabel("below the limit\n(% of it)")


MOST_PANELS = 4


def label_noise(table: pl.DataFrame, look: Look) -> Figure:
    """One panel a repeated judgement: the limit without noise between its bounds, and what best-of-n seems to gain.

    Args:
        table: `tradeoffs/label_noise.parquet`.
        look: size and colours.
    """
    names = table["reward"].unique(maintain_order=True).to_list()[:MOST_PANELS]
    with look.applied():
        figure = look.figure(height=0.62 * look.width * len(names) + 0.5)
        for ax, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
            _judged(ax, table.filter(pl.col("reward") == name), name, look)
        figure.supxlabel(KL, fontsize=look.font_size)
        open_point: dict[str, Any] = {"ls": "", "marker": "o", "ms": 3.4, "mec": BEST_OF_N, "mew": 0.9}
        handles = [
            Line2D([], [], color=INK, lw=1.5, label="limit without noise"),
            Patch(facecolor=SHADE, label="bounds of this limit"),
            Line2D([], [], mfc="white", label="best-of-n, as the judgements see it", **open_point),
            Line2D([], [], mfc=BEST_OF_N, label="best-of-n, without noise", **open_point),
        ]
        outside_key(figure, handles, look)
    return figure


def _judged(ax: Any, rows: pl.DataFrame, name: str, look: Look) -> None:
    tilt = rows.filter(pl.col("at") == "kl").sort("kl")
    picked = rows.filter((pl.col("at") == "best-of-n") & pl.col("gain").is_finite() & pl.col("kl").is_finite()).sort(
        "n"
    )
    kl, at_least, at_most, limit, low, high = (
        np.concatenate([[0.0], tilt[c].to_numpy()])
        for c in ("kl", "at_least", "at_most", "limit", "limit_low", "limit_high")
    )
    ax.fill_between(kl, at_least, at_most, color=SHADE, lw=0, zorder=1)
    reliable = np.concatenate([[True], tilt["limit_reliable"].to_numpy()]).astype(bool)
    draw(ax, Curve(kl, limit, low, high, reliable), colour=INK, name=f"limit:{name}", width=1.5)
    for row in picked.iter_rows(named=True):
        alpha = 1.0 if row["reliable"] else 0.4
        ax.vlines(row["kl"], row["gain"], row["seen"], color=BEST_OF_N, lw=0.8, alpha=0.6 * alpha, zorder=3)
        for column, face in (("seen", "white"), ("gain", BEST_OF_N)):
            style = {"mfc": face, "mec": BEST_OF_N, "mew": 0.9, "ms": 3.4, "alpha": alpha, "zorder": 5}
            (mark,) = ax.plot(row["kl"], row[column], "o", **style)
            mark.set_gid(f"{column}:{row['n']}")
    last = max([0.1, *tilt.filter("limit_reliable")["kl"].to_list(), *picked.filter("reliable")["kl"].to_list()])
    shown = rows.filter(pl.col("kl") <= last)
    tops = [np.nanmax(np.nan_to_num(shown[c].to_numpy(), nan=0.0), initial=0.0) for c in ("at_most", "seen", "limit")]
    ax.set_xlim(0, 1.04 * last)
    ax.set_ylim(0, 1.06 * max(1e-9, *tops))
    row = rows.row(0, named=True)
    panel_title(ax, f"{label(name, 30)} (reliability of one judgement {row['reliability']:.2f})", look)
    ax.set_ylabel("gain\n(units of the judgements)")


def closed_policies(table: pl.DataFrame, frontier: pl.DataFrame, look: Look) -> Figure:
    """Gold's limit against KL, and policies whose KL has only a lower bound: points with an arrow to the right.

    Args:
        table: `tradeoffs/closed_policies.parquet`.
        frontier: `limits/frontier.parquet`.
        look: size and colours.
    """
    rows = table.filter(pl.col("gain").is_finite() & pl.col("kl_at_least").is_finite()).sort("gain", descending=True)
    limit = curve(frontier, look.gold, look.gold)
    with look.applied():
        figure = look.figure(height=0.82 * look.width)
        ax = figure.subplots()
        draw(ax, limit, colour=INK, name="limit", width=1.5)
        right = 1.3 * max([0.5, limit.reach, *rows["kl_at_least"].to_list()])
        for row in rows.iter_rows(named=True):
            alpha, x, y = (1.0 if row["reliable"] else 0.4), row["kl_at_least"], row["gain"]
            ax.vlines(x, row["gain_low"], row["gain_high"], color=PER_PROMPT, lw=0.8, alpha=alpha, zorder=3)
            arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": PER_PROMPT, "lw": 0.9, "alpha": alpha, "shrinkA": 0}
            ax.annotate("", (x + 0.08 * right, y), (x, y), arrowprops=arrow, zorder=3)
            (mark,) = ax.plot(x, y, "s", ms=3.6, color=PER_PROMPT, alpha=alpha, zorder=4)
            mark.set_gid(row["policy"])
            ax.text(x + 0.1 * right, y, label(row["policy"], 22), va="center", fontsize=look.small)
        ax.set_xlim(0, right)
        top = max([0.1, *rows["gain_high"].to_list(), *limit.high[limit.reliable].tolist()])
        ax.set_ylim(min(0.0, *rows["gain_low"].to_list(), 0.0), 1.08 * top)
        ax.set_xlabel(KL)
        ax.set_ylabel(GAIN)
        handles: list[Any] = [
            Line2D([], [], color=INK, lw=1.5, label="limit"),
            Line2D([], [], color=PER_PROMPT, ls="", marker="s", ms=3.6, label="policy, its KL is at least this"),
        ]
        outside_key(figure, handles, look)
    return figure

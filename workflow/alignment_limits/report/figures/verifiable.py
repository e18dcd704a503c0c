"""Verifiable rewards: pass rate against KL, for the limit and for every way to choose among k replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.interpolate import PchipInterpolator

from alignment_limits.report.figures.style import (
    BEST_OF_N,
    DASHED,
    GREY,
    INK,
    KL,
    PER_PROMPT,
    Look,
    label,
    outside_key,
)

MOST_SELECTING = 3  # rewards whose choices are drawn
VOTES = "#009e73"  # green of Okabe and Ito's colour-blind safe set
_MARKS = {"best-of-n": "o", "majority": "D", "best-of-majority": "^", "selected": "s"}


def verifiable(table: pl.DataFrame, look: Look, *, proxies: Sequence[str] = ()) -> Figure:
    """The plane of pass rate and KL.

    Args:
        table: `tradeoffs/verifiable.parquet`.
        look: size and colours.
        proxies: rewards whose choices are drawn, the first three of them.
    """
    rows = table.with_columns(pl.col("pass_rate", "pass_rate_low", "pass_rate_high") * 100)
    rows = rows.filter(pl.col("kl").is_finite() & pl.col("pass_rate").is_finite())
    with look.applied():
        figure = look.figure(height=0.8 * look.width)
        ax = figure.subplots()
        if not rows.height:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "Gold has other scores than 0 and 1.", ha="center", va="center")
            return figure
        handles = _limits(ax, rows.filter(pl.col("method") == "limit"))
        names = [n for n in proxies if n in set(rows["selecting"])][:MOST_SELECTING]
        for method, by, colour, text in [
            ("best-of-n", "", BEST_OF_N, "best of k (pass@k)"),
            ("majority", "", VOTES, "majority of k"),
            *(("selected", n, look.colour(n), f"best of k by {label(n, 40)}") for n in names),
            *(("best-of-majority", n, look.colour(n), f"of frequent answers by {label(n, 40)}") for n in names),
        ]:
            part = rows.filter((pl.col("method") == method) & (pl.col("selecting") == by)).sort("k")
            part = part.filter(pl.col("k") > 1)
            if part.height:
                handles.append(_points(ax, part, look, colour, text))
        ax.set_xlim(0, 1.03 * float(rows["kl"].max()))  # type: ignore[arg-type]
        said = rows.filter(pl.col("reliable") | (pl.col("budget") == "average"))
        ends = [said[c] for c in ("pass_rate_low", "pass_rate_high")] + [rows["pass_rate"]]
        low, high = (float(getattr(pl.concat(ends).drop_nans(), end)()) for end in ("min", "max"))
        ax.set_ylim(max(low - 3, 0), min(high + 3, 101))
        ax.set_xlabel(KL)
        ax.set_ylabel("replies that pass (%)")
        outside_key(figure, handles, look)
    return figure


def _limits(ax: Any, rows: pl.DataFrame) -> list[Line2D]:
    handles = []
    for budget, colour, text in (("average", INK, "limit"), ("per-prompt", PER_PROMPT, "same KL for each prompt")):
        part = rows.filter(pl.col("budget") == budget).unique("kl").sort("kl")
        if part.height < 2:
            continue
        kl = part["kl"].to_numpy()
        fine = np.linspace(np.sqrt(kl[0]), np.sqrt(kl[-1]), 200) ** 2
        rate, low, high = (
            _between(part, name)(np.sqrt(fine)) for name in ("pass_rate", "pass_rate_low", "pass_rate_high")
        )
        known = part.filter(pl.col("reliable"))["kl"]
        sure = fine <= (float(known[-1]) if known.len() else -1.0)
        if budget == "average":
            ax.fill_between(fine, low, high, color=colour, alpha=0.12, lw=0, zorder=1)
        ax.plot(fine[sure], rate[sure], color=colour, lw=1.3, zorder=3)
        ax.plot(fine[~sure], rate[~sure], color=colour, lw=0.8, ls=DASHED, zorder=3)
        handles.append(Line2D([], [], color=colour, lw=1.3, label=text))
    return handles


def _between(rows: pl.DataFrame, name: str) -> PchipInterpolator:
    """A column between its KLs: a monotone cubic in √KL, as in other figures."""
    return PchipInterpolator(np.sqrt(rows["kl"].to_numpy()), rows[name].to_numpy())


def _points(ax: Any, rows: pl.DataFrame, look: Look, colour: Any, text: str) -> Line2D:
    """Points with bars, joined by a thin line; pale where not reliable or where the KL is only bounded."""
    method = rows["method"][0]
    mark: dict[str, Any] = {"marker": _MARKS[method], "ms": 3.4, "mfc": "white", "mew": 0.9}
    ax.plot(rows["kl"], rows["pass_rate"], color=colour, lw=0.5, alpha=0.5, zorder=2)
    for row in rows.iter_rows(named=True):
        known = row["kl"] == 0 or row["kl_low"] > 0.5 * row["kl"]
        alpha = 1.0 if known and row["reliable"] else 0.4
        ax.vlines(
            row["kl"], row["pass_rate_low"], row["pass_rate_high"], color=colour, lw=0.7, alpha=0.5 * alpha, zorder=2
        )
        (point,) = ax.plot(row["kl"], row["pass_rate"], mec=colour, alpha=alpha, ls="", zorder=4, **mark)
        point.set_gid(f"{method}:{row['selecting']}:{row['k']}" if row["reliable"] else f"{method}:unreliable")
    last = rows.row(-1, named=True)
    if method == "best-of-n":
        style = {"textcoords": "offset points", "color": GREY, "va": "top", "fontsize": look.small}
        ax.annotate(f"k = {last['k']}", (last["kl"], last["pass_rate"]), (3, -3), **style)
    return Line2D([], [], ls="", mec=colour, label=text, **mark)

"""Several golds at once: the Pareto front of their gains, and what a constraint or the worst of them leaves."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.report.figures.curves import Curve, draw
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    DASHED,
    GREY,
    INK,
    KL,
    WIDE,
    Look,
    colours,
    key_columns,
    label,
    outside_key,
    place,
)
from alignment_limits.tradeoffs.compromises import WORST
from alignment_limits.tradeoffs.several_golds import COMBINED

GREYS = 0.15, 0.72  # of the front at the largest and at the smallest KL
MOST_FRONTS = 4


def pareto_front(table: pl.DataFrame, look: Look) -> Figure:
    """One panel a pair of golds: the front of their gains at each KL under the average budget.

    Lines join points of different weights on these two golds, with none on the others, so that a line is the whole
    front of the pair. Bars are the intervals of both gains. What is not reliable is dashed.

    Args:
        table: `tradeoffs/golds.parquet`.
        look: size and colours.
    """
    golds = [name for name in table["evaluated"].unique(maintain_order=True) if name != COMBINED]
    pairs = list(combinations(golds, 2))
    kls = sorted(table.filter(pl.col("method") == "tilt")["kl"].unique().to_list())
    kls = [kls[i] for i in np.unique(np.linspace(0, len(kls) - 1, MOST_FRONTS).round().astype(int))] if kls else []
    shades = np.linspace(GREYS[1], GREYS[0], len(kls))
    ns = sorted({int(n) for n in table["n"].drop_nulls().drop_nans()} - {1})
    with look.applied():
        across = (3 if len(pairs) > 2 else 2) if look.width >= WIDE and len(pairs) > 1 else min(2, len(pairs))
        down = -(-len(pairs) // across)
        figure = look.figure(height=0.85 * look.width / across * down + 0.35)
        axes = np.atleast_1d(figure.subplots(down, across)).ravel()
        for ax in axes[len(pairs) :]:
            ax.set_visible(False)
        for ax, pair in zip(axes, pairs, strict=False):
            rows = _pair(table, pair, golds)
            for kl, shade in zip(kls, shades, strict=True):
                _front(ax, rows.filter((pl.col("method") == "tilt") & (pl.col("kl") == kl)), str(shade), f"{kl:g}")
            for n in ns:
                _picks(ax, rows.filter((pl.col("method") == "best-of-n") & (pl.col("n") == n)), n, look)
            for line in (ax.axhline, ax.axvline):
                line(0, color=GREY, lw=0.5, zorder=1)
            ax.margins(y=0.12)
            ax.set_xlabel(f"{label(pair[0])}\n(base-model s.d.)")
            ax.set_ylabel(f"{label(pair[1])}\n(base-model s.d.)")
        handles = [
            Line2D([], [], color=str(shade), lw=1.3, label=f"{kl:g} nats")
            for kl, shade in zip(kls, shades, strict=True)
        ]
        handles += [
            Line2D([], [], color=BEST_OF_N, marker="o", ls=":", lw=0.7, mfc="white", ms=3.2, label="best-of-n by w·r")
        ] * bool(ns)
        outside_key(figure, handles, look, title="gains in two golds: the largest within a KL")
    return figure


def _pair(table: pl.DataFrame, pair: tuple[str, str], golds: list[str]) -> pl.DataFrame:
    """One row for each weighting of the two golds alone, with both gains; the average budget, and best-of-n."""
    own = table.filter((pl.col("evaluated") != COMBINED) & (pl.col("budget") != "per-prompt"))
    others = own.filter(~pl.col("evaluated").is_in(pair) & (pl.col("weight") > 0)).select("point").unique()
    own = own.join(others, on="point", how="anti")
    parts = []
    for axis, name in zip("xy", pair, strict=True):
        columns = [pl.col(c).alias(f"{axis}_{c}") for c in ("gain", "gain_low", "gain_high", "reliable")]
        parts.append(own.filter(pl.col("evaluated") == name).select("method", "n", "kl", "point", *columns))
    return parts[0].join(parts[1], on=["method", "n", "kl", "point"], nulls_equal=True).sort("point")


def _front(ax: Any, rows: pl.DataFrame, colour: str, name: str) -> None:
    x, y = rows["x_gain"].to_numpy(), rows["y_gain"].to_numpy()
    sure = (rows["x_reliable"] & rows["y_reliable"]).to_numpy()
    for reliable in (True, False):
        keep = sure if reliable else ~sure | np.append(~sure[1:], False) | np.insert(~sure[:-1], 0, False)
        line = {"ls": "-", "lw": 1.3} if reliable else {"ls": DASHED, "lw": 0.9, "alpha": 0.6}
        drawn = ax.plot(np.where(keep, x, np.nan), np.where(keep, y, np.nan), color=colour, zorder=3, **line)
        drawn[0].set_gid(f"front:{name}" if reliable else f"front:{name}:unreliable")
    shown = rows.filter(pl.Series(sure))
    for row in shown.iter_rows(named=True):
        bar = {"color": colour, "lw": 0.6, "alpha": 0.55, "zorder": 2}
        ax.plot([row["x_gain_low"], row["x_gain_high"]], [row["y_gain"]] * 2, **bar)
        ax.plot([row["x_gain"]] * 2, [row["y_gain_low"], row["y_gain_high"]], **bar)


def _picks(ax: Any, rows: pl.DataFrame, n: int, look: Look) -> None:
    if rows.is_empty():
        return
    style = {"color": BEST_OF_N, "lw": 0.7, "ls": ":", "marker": "o", "ms": 2.6, "mfc": "white", "mew": 0.7}
    ax.plot(rows["x_gain"], rows["y_gain"], zorder=4, **style)[0].set_gid(f"best-of-{n}")
    end = rows.sort("y_gain").row(0, named=True)
    text = {"textcoords": "offset points", "ha": "center", "va": "top", "color": BEST_OF_N, "fontsize": look.small}
    ax.annotate(f"n = {n}", (end["x_gain"], end["y_gain"]), (0, -4), **text)


def compromises(table: pl.DataFrame, look: Look) -> Figure:
    """The limit with and without a constraint, and the limit of the worst of several golds, against KL.

    Args:
        table: `tradeoffs/compromises.parquet`.
        look: size and colours.
    """
    own = table.filter(pl.col("budget") == "average")
    panels = [(draw_it, rows) for kind, draw_it in _PANELS if (rows := own.filter(pl.col("kind") == kind)).height]
    with look.applied():
        across = len(panels) if look.width >= WIDE else 1
        down = len(panels) // across
        most = max(3, 1 + own["at_most"].n_unique())
        figure = look.figure(height=(0.5 * look.width / across + 0.3 + most * look.small / 72) * down)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for ax, (draw_it, rows) in zip(axes, panels, strict=True):
            title, handles = draw_it(ax, rows, look)
            ax.axhline(0, color=GREY, lw=0.5, zorder=1)
            ax.set_xlim(0, 1.03 * float(own["kl"].max()))  # type: ignore[arg-type]
            names = [str(handle.get_label()) for handle in handles]
            place(ax, handles, look, title, key_columns(names, look, 60 * look.width / across, most=2))
        for ax in axes[-across:]:
            ax.set_xlabel(KL)
    return figure


def _curve(rows: pl.DataFrame, name: str = "gain", *, bare: bool = False, origin: bool = True) -> Curve:
    """A column against KL; `bare`: without interval or verdict; `origin`: nothing is gained at KL 0."""
    rows, first = rows.sort("kl"), [0.0] if origin else []
    kl, gain = (np.concatenate([first, rows[c].to_numpy()]) for c in ("kl", name))
    missing = np.full(len(rows), np.nan)
    ends = [missing if bare else rows[c].to_numpy() for c in (f"{name}_low", f"{name}_high")]
    low, high = (np.concatenate([first, end]) for end in ends)
    sure = np.concatenate([[True] * len(first), rows["reliable"].to_numpy() | bare]).astype(bool)
    return Curve(kl, gain, low, high, sure & np.isfinite(gain))


def _constraint(ax: Any, rows: pl.DataFrame, look: Look) -> tuple[str, list[Line2D]]:
    goal = rows["optimized"][0]
    kept = rows.filter(pl.col("evaluated") != goal)["evaluated"][0]
    of_goal = rows.filter(pl.col("evaluated") == goal)
    bounds = sorted(of_goal["at_most"].unique().to_list(), reverse=True)
    draw(
        ax, _curve(of_goal.filter(pl.col("at_most") == bounds[0]), "alone", bare=True), colour=INK, name="alone", band=0
    )
    ax.set_ylabel(f"gain in {label(goal, 24)}\n(base-model s.d.)")
    handles = [Line2D([], [], color=INK, lw=1.3, label="any change")]
    for bound, colour in zip(bounds, colours(look.palette, len(bounds)), strict=True):
        own = _curve(of_goal.filter(pl.col("at_most") == bound), origin=bound >= 0)
        if np.isfinite(own.gain).any():
            draw(ax, own, colour=colour, name=f"at-most:{bound:g}", band=0.15)
        handles.append(Line2D([], [], color=colour, lw=1.3, label=f"at most {bound:.3g} s.d.".replace("-", "−")))
    return f"{label(goal, 24)}, by the allowed change of {label(kept, 24)}", handles


def _worst(ax: Any, rows: pl.DataFrame, look: Look) -> tuple[str, list[Line2D]]:
    dotted = (0, (1.2, 0.9))
    handles: list[Line2D] = []
    ax.set_ylabel("gain in each\n(base s.d. of each)")  # has no one reward, so it has no units of a reward
    for name in rows["evaluated"].unique(maintain_order=True):
        own = rows.filter(pl.col("evaluated") == name)
        if name == WORST:
            draw(ax, _curve(own), colour=INK, name="worst", band=0.18)
            handles.insert(0, Line2D([], [], color=INK, lw=1.3, label="in every gold"))
        else:
            colour = GREY if name == look.gold else look.colour(name)
            draw(ax, _curve(own, "alone", bare=True), colour=colour, name=name, band=0, style=dotted)
            handles.append(Line2D([], [], color=colour, lw=1.3, ls=dotted, label=f"{label(name, 24)} alone"))
    return "largest gain of one policy", handles


_PANELS = (("constraint", _constraint), ("worst", _worst))

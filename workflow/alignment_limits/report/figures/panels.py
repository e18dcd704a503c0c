"""The frontiers of several studies: how much gold a policy can gain at each KL, and how close best-of-n comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.report.figures.curves import curve, draw, limit_curve, ordered
from alignment_limits.report.figures.style import GAIN, INK, KL, Look, columns, height, label, order, place
from alignment_limits.report.numbers import verdict_of


@dataclass(frozen=True)
class Panel:
    """One study: its title, `limits/frontier.parquet`, `limits/best_of_n.parquet`, gold and proxies by name."""

    title: str
    frontier: pl.DataFrame
    best_of_n: pl.DataFrame
    gold: str
    proxies: tuple[str, ...]


def panels(studies: Sequence[Panel], look: Look) -> Figure:
    """Gain in gold against KL, a panel a study: the limit (black, 95% band), best-of-n, gold under each proxy.

    Average budget. What is not reliable is dashed and pale. Axes are shared: all is in gold's base standard
    deviations and nats. Keys are in the order of the curves from top to bottom.
    """
    looks = [replace(look, gold=s.gold, names=s.proxies) for s in studies]
    room = 72 * look.width / len(studies) - 6 * look.font_size
    with look.applied():
        shown = [[*_GOLDS, *s.proxies] for s in studies]
        keys = max(height(names, look, columns(names, look, room)) for names in shown)
        figure = look.figure(height=0.78 * look.width / len(studies) + keys + 0.4)
        axes = np.atleast_1d(figure.subplots(1, len(studies), sharex=True, sharey=True))
        highest, furthest = 0.1, 0.1
        for ax, study, own in zip(axes, studies, looks, strict=True):
            ideal = limit_curve(study.frontier, study.gold)
            curves = {name: curve(study.frontier, name, study.gold) for name in study.proxies}
            for name, under in curves.items():  # nothing gains more gold than the ideal
                ideal, curves[name] = ordered(ideal, under)
            common = min([ideal.reach, *(c.reach for c in curves.values())]) or ideal.end
            ranked = order(study.proxies, {name: c.at(common) for name, c in curves.items()})
            for name in ranked:
                draw(
                    ax, curves[name], colour=own.colour(name), name=name, style=own.stroke(name), band=0.1, under=ideal
                )
            draw(ax, ideal, colour=INK, name=study.gold, width=1.5)
            points = study.best_of_n.filter(
                (pl.col("optimized") == study.gold)
                & (pl.col("evaluated") == study.gold)
                & (pl.col("method") == "best-of-n")
                & (pl.col("n") > 1)
                & pl.col("gain").is_finite()
            ).sort("n")
            _points_of_panel(ax, points, own)
            place(ax, _key_of_panels(ranked, own), own, study.title, columns([*_GOLDS, *ranked], own, room))
            drawn = [ideal.high[ideal.reliable], ideal.gain, points["gain"].to_numpy()]
            highest = max(highest, float(np.nanmax(np.concatenate(drawn))))
            furthest = max(furthest, ideal.end, *points["kl"].to_list())
        lowest = min(0.0, *(float(np.nanmin(y)) for ax in axes for y in map(_heights, ax.get_lines()) if y.size))
        axes[0].set_ylim(1.1 * lowest, 1.08 * highest)
        axes[0].set_xlim(0, 1.03 * furthest)
        axes[0].set_ylabel(GAIN)
        figure.supxlabel(KL, fontsize=look.font_size)
    return figure


_GOLDS = ("limit", "best-of-n")


def _points_of_panel(ax: Any, points: pl.DataFrame, look: Look) -> None:
    """Open circles with 95% bars, the smallest and the largest n named; paler where not reliable."""
    rows = points.unique("n", keep="first", maintain_order=True)  # one row per budget: same gain and KL
    for row in rows.iter_rows(named=True):
        alpha = 1.0 if verdict_of(row, "gain") else 0.4
        low, high = row["gain_low"], row["gain_high"]
        ax.vlines(row["kl"], low, high, color=INK, lw=0.7, alpha=alpha, zorder=5)
        (mark,) = ax.plot(row["kl"], row["gain"], "o", ms=3.4, mfc="white", mec=INK, mew=0.8, alpha=alpha, zorder=6)
        mark.set_gid(f"best-of-{row['n']}")
        if row["n"] in (rows["n"][0], rows["n"][-1]):
            ax.annotate(
                f"n = {row['n']}",
                (row["kl"], row["gain"]),
                xytext=(4, -3),
                textcoords="offset points",
                va="top",
                fontsize=look.small,
                color=INK,
                alpha=max(alpha, 0.7),
            )


def _key_of_panels(names: Sequence[str], look: Look) -> list[Line2D]:
    """The limit and best-of-n, then proxies."""
    golds = [
        Line2D([], [], color=INK, lw=1.5, label=_GOLDS[0]),
        Line2D([], [], color=INK, marker="o", ms=3.4, mfc="white", mew=0.8, lw=0, label=_GOLDS[1]),
    ]
    return golds + [Line2D([], [], color=look.colour(n), ls=look.stroke(n), lw=1.3, label=label(n, 40)) for n in names]


def _heights(line: Any) -> np.ndarray:
    """Finite y of a line."""
    y = np.asarray(line.get_ydata(), float)
    return y[np.isfinite(y)]

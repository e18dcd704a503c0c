"""Gold reward against KL when something else is optimised: what is left of the ideal, and where it turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from alignment_limits.figures.curves import Curve, curve, draw, limit_curve, ordered
from alignment_limits.figures.keys import WIDE, columns, height, key
from alignment_limits.figures.style import GREY, INK, Look, order


def gold_under_proxies(
    table: pl.DataFrame, look: Look, *, proxies: Sequence[str], ensembles: Sequence[str] = ()
) -> Figure:
    """Gold gain (base standard deviations) against KL(π̂‖π₀) for each proxy and each ensemble optimised.

    One panel for single proxies, one for ensembles (long-short strokes, the single proxies in grey behind
    them); the ideal, gold itself optimised, is black in both. What is not reliable is dashed and pale; an estimate
    above the ideal, which nothing can pass, is drawn at it within noise, and not at all beyond.
    Average budget. Keys are in the order of the curves from top to bottom at the KL all can be compared at.

    Args:
        table: `limits/frontier.parquet`.
    """
    gold = look.gold
    ideal = limit_curve(table, gold)
    curves = {name: curve(table, name, gold) for name in (*proxies, *ensembles)}
    for name, own in curves.items():  # nothing gains more gold than the ideal
        ideal, curves[name] = ordered(ideal, own)
    groups = [(title, list(g)) for title, g in (("single proxies", proxies), ("ensembles", ensembles)) if g]
    with look.applied():
        beside = look.width >= WIDE
        rows = 1 if beside else max(len(groups), 1)
        room = 72 * look.width / (2 if beside else 1) - 6 * look.font_size
        keys = [height(g, look, columns(g, look, room)) for _, g in groups] or [0.0]
        panel = 0.46 * look.width / (1.3 if beside else 1)
        figure = look.figure(height=rows * panel + (max(keys) if beside else sum(keys)) + 0.45)
        axes = figure.subplots(*((1, max(len(groups), 1)) if beside else (rows, 1)), sharex=True, sharey=True)
        for ax, (title, names) in zip(np.atleast_1d(axes), groups or [("", [])], strict=True):
            if title == "ensembles":
                for name in proxies:
                    behind: dict[str, Any] = {
                        "colour": "#b8b8b8",
                        "name": f"behind:{name}",
                        "width": 0.7,
                        "band": 0,
                        "zorder": 2,
                    }
                    draw(ax, curves[name], under=ideal, **behind)
            draw(ax, ideal, colour=INK, name=gold, width=1.5, band=0.1)
            common = min([ideal.reach, *(curves[n].reach for n in names)]) or ideal.end
            for name in (ranked := order(names, {n: curves[n].at(common) for n in names})):
                style = look.stroke(name, ensemble=name in ensembles)
                draw(ax, curves[name], colour=look.colour(name), name=name, style=style, band=0.12, under=ideal)
            key(ax, ranked, look, ensembles, title, columns(ranked, look, room))
            _label_ideal(ax, ideal, look)
        _limits(np.atleast_1d(axes)[0], [ideal, *curves.values()])
        figure.supylabel("gain in gold (base s.d.)", fontsize=look.font_size)
        under = "KL from the base model (nats per sequence)"
        if beside:
            figure.supxlabel(under, fontsize=look.font_size)
        else:
            np.atleast_1d(axes)[-1].set_xlabel(under)
    return figure


def _limits(ax: Any, curves: list[Curve]) -> None:
    """Axes around all estimates, and around the bands where they are reliable; zero is always in view."""
    values = [v for c in curves for v in (c.gain, c.low[c.reliable], c.high[c.reliable])]
    flat = np.concatenate(values)
    low, high = float(np.nanmin([0, *flat])), float(np.nanmax([0.1, *flat]))
    ax.set_ylim(low - 0.04 * (high - low) if low < 0 else 0, high + 0.06 * (high - low))
    ax.set_xlim(0, 1.02 * max(c.end for c in curves) or 1)
    if low < 0:
        for other in ax.figure.axes:
            other.axhline(0, color=GREY, lw=0.5, zorder=1)


def _label_ideal(ax: Any, ideal: Curve, look: Look) -> None:
    """The word beside the black curve, above and left of it: frontiers are concave, so nothing is there."""
    x = 0.45 * ideal.end
    ax.annotate(
        "ideal",
        (x, ideal.at(x)),
        xytext=(-7, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=look.small,
        color=INK,
    )

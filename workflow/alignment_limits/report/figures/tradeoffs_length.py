"""The limit with the mean length of replies held fixed, and the share of each reward's gain that length explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.report.figures.curves import Curve, draw
from alignment_limits.report.figures.style import (
    GAIN,
    GREY,
    INK,
    KL,
    Look,
    label,
    nothing_reliable,
    outside_key,
    panel_title,
)
from alignment_limits.tradeoffs.length_control import FREE, HELD

_NAMES = {"tokens": "length in tokens", "characters": "length in characters"}


def length_control(table: pl.DataFrame, look: Look, *, proxies: Sequence[str] = ()) -> Figure:
    """Above: gold's limit, and that of policies with the base's mean length. Below: share of gains by length.

    Args:
        table: `tradeoffs/length_control.parquet`.
        look: size and colours.
        proxies: rewards other than gold, each with a line below.
    """
    own = table.filter(pl.col("optimized") == pl.col("evaluated"))
    gold = own.filter(pl.col("optimized") == look.gold)
    rewards = [r for r in (look.gold, *proxies) if r in set(own["optimized"])]
    with look.applied():
        if not rewards:
            return _nothing(look)
        figure = look.figure(height=0.95 * look.width)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
        for tilt, colour, name in ((FREE, INK, "free"), (HELD, GREY, "held")):
            draw(above, _curve(gold.filter(pl.col("tilt") == tilt), "gain"), colour=colour, name=name)
        above.set_ylabel(GAIN)
        above.set_ylim(bottom=0)
        panel_title(above, f"held: the mean of {_NAMES.get(own['column'][0], label(own['column'][0], 40))}", look)
        below.axhline(0, color=GREY, lw=0.5, zorder=1)
        free = own.filter(pl.col("tilt") == FREE).with_columns(
            pl.col("explained", "explained_low", "explained_high") * 100
        )
        for name in reversed(rewards):
            rows = free.filter(pl.col("optimized") == name)
            style: dict[str, Any] = {"colour": look.colour(name), "style": look.stroke(name)}
            draw(
                below,
                _curve(rows, "explained", origin=False),
                name=name,
                band=0.18 if name == look.gold else 0.08,
                **style,
            )
        shown = free.filter("explained_reliable")
        if shown.height:
            ends = pl.concat([shown["explained_low"], shown["explained_high"]])
            below.set_ylim(min(0.0, float(ends.min())) - 2, max(10.0, float(ends.max())) + 2)  # type: ignore[arg-type]
        else:
            nothing_reliable(below, free, "explained", look)
        below.set_ylabel("% of the gain\nby length")
        below.set_xlim(0, 1.03 * float(table["kl"].max()))  # type: ignore[arg-type]
        figure.supxlabel(KL, fontsize=look.font_size)
        handles = [
            Line2D([], [], color=INK, lw=1.3, label="gold"),
            Line2D([], [], color=GREY, lw=1.3, label="gold, length held"),
        ]
        handles += [
            Line2D([], [], color=look.colour(r), ls=look.stroke(r), lw=1.3, label=label(r, 40)) for r in rewards[1:]
        ]
        figure.align_ylabels([above, below])
        outside_key(figure, handles, look)
    return figure


def _nothing(look: Look) -> Figure:
    figure = look.figure(height=0.3 * look.width)
    ax = figure.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, "These samples have no length\nthat differs within a prompt.", ha="center", va="center")
    return figure


def _curve(rows: pl.DataFrame, name: str, *, origin: bool = True) -> Curve:
    """A column with its interval; a gain starts at the origin, a share at its first value."""
    rows = rows.sort("kl")

    def column(which: str) -> np.ndarray:
        values = rows[which].to_numpy()
        return np.concatenate([[0.0], values]) if origin else values

    verdicts = rows[f"{name}_reliable"].to_numpy().astype(bool)
    reliable = np.concatenate([[True], verdicts]) if origin else verdicts
    return Curve(column("kl"), column(name), column(f"{name}_low"), column(f"{name}_high"), reliable)

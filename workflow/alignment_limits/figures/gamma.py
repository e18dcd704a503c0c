"""γ estimated from preferences, and whether its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from alignment_limits.figures.keys import place
from alignment_limits.figures.style import GREY, Look


def gamma_estimates(table: pl.DataFrame, look: Look, *, truth: float) -> Figure:
    """Left: medians over seeds of estimate and 95% interval. Right: share of the intervals that hold the true γ.

    One colour for each dimension of the reward class beside which γ was estimated; where it is not identified,
    nothing is drawn.

    Args:
        table: `learning/gamma.parquet`.
    """
    dimensions = table["dimension"].unique().sort().to_list()
    palette = Look(palette=look.palette, gold="", names=tuple(map(str, dimensions)))
    with look.applied():
        figure = look.figure(height=0.4 * look.width + 0.5)
        left, right = figure.subplots(1, 2)
        drawn = []
        for i, dimension in enumerate(dimensions):
            rows = table.filter((pl.col("dimension") == dimension) & pl.col("identified"))
            if not rows.height:
                continue
            holds = ((pl.col("low") <= truth) & (pl.col("high") >= truth)).mean()
            by_n = rows.group_by("n").agg(pl.col("gamma", "low", "high").median(), holds=holds).sort("n")
            shift = 1.04 ** (i - len(dimensions) / 2)
            colour = palette.colour(str(dimension))
            middle = by_n["gamma"].to_numpy()
            bars = np.abs(by_n.select("low", "high").to_numpy().T - middle)
            (line, *_) = left.errorbar(
                by_n["n"].to_numpy() * shift, middle, bars, color=colour, marker="o", ms=2.6, lw=0.9, elinewidth=0.7
            )
            line.set_label(f"{dimension} feature{'s' if dimension > 1 else ''}")
            drawn.append(line)
            right.plot(by_n["n"], by_n["holds"], "o-", color=colour, ms=2.6, lw=0.9)
        left.axhline(truth, color=GREY, lw=0.8, ls=":")
        right.axhline(0.95, color=GREY, lw=0.8, ls=":")
        for ax in (left, right):
            ax.set_xscale("log")
        left.set_ylim(truth - 1.5 * abs(truth), truth + 1.5 * abs(truth))
        left.set_ylabel("estimated γ")
        right.set_ylabel("intervals that hold γ")
        place(left, drawn, look, "rewards fitted in", 2)
        figure.supxlabel("preference pairs n", fontsize=look.font_size)
    return figure

"""Training curves: what the replies were like from step to step, by KL coefficient."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from alignment_limits.figures.layout import outside_key
from alignment_limits.figures.style import GREY, Look, label

PANELS = {
    "reward": "{optimized} (base s.d.)",
    "kl": "KL (nats)",
    "length": "length (tokens)",
    "entropy": "entropy (nats)",
}
WINDOW = 20  # a smoothed point is the mean over one part in so many of the run


def training_curves(curves: pl.DataFrame, look: Look) -> Figure:
    """Reward, KL, length and entropy per reply against step; a colour per coefficient.

    Each seed is a pale line, and their mean over a window that ends at the step a full one (gid
    `<panel>:<coefficient>`).

    Args:
        curves: table `curves` of runs of one recipe and one optimised reward.
    """
    coefficients = curves["coefficient"].unique().sort().to_list()
    colours = dict(zip(coefficients, sns.color_palette("viridis", len(coefficients)), strict=True))
    optimized = curves["optimized"][0]
    with look.applied():
        figure = look.figure(height=0.8 * look.width + 0.2)
        axes = figure.subplots(2, 2, sharex=True).ravel()
        for ax, (column, title) in zip(axes, PANELS.items(), strict=True):
            for coefficient, colour in colours.items():
                _lines(ax, curves.filter(pl.col("coefficient") == coefficient), column, coefficient, colour)
            ax.set_ylabel(title.format(optimized=label(optimized, 22)))
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for ax in axes[:2]:
            ax.axhline(0, color=GREY, lw=0.5, zorder=1)
        figure.supxlabel("step", fontsize=look.font_size)
        handles = [Line2D([], [], color=c, lw=1.2, label=f"{value:g}") for value, c in colours.items()]
        what = "n" if curves["objective"][0] == "best-of-n" else "KL coefficient"
        outside_key(figure, handles, look, title=what)
    return figure


def _lines(ax: Any, rows: pl.DataFrame, column: str, coefficient: float, colour: Any) -> None:
    rows = rows.drop_nulls(column)
    for (_,), run in rows.group_by("seed", maintain_order=True):
        ax.plot(run["step"], run[column], color=colour, lw=0.5, alpha=0.35, zorder=2)
    mean = rows.group_by("step").agg(pl.col(column).mean()).sort("step")
    window = max(1, mean.height // WINDOW)
    total = np.concatenate([[0.0], np.cumsum(mean[column].to_numpy())])
    ends = np.arange(1, mean.height + 1)
    starts = np.maximum(0, ends - window)
    (line,) = ax.plot(mean["step"], (total[ends] - total[starts]) / (ends - starts), color=colour, lw=1.2, zorder=3)
    line.set_gid(f"{column}:{coefficient:g}")

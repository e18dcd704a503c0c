"""At a fixed coefficient more data lead to the population's minimiser, not to the target."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.figure import Figure

from alignment_limits.figures.keys import place
from alignment_limits.figures.objectives import colour, handles, line
from alignment_limits.figures.style import GREY, Look
from alignment_limits.learning.names import first_setting, in_order


def learning_floors(summary: pl.DataFrame, slopes: pl.DataFrame, look: Look, objectives: Sequence[str]) -> Figure:
    """Forward KL (nats) against n, a panel for each fixed coefficient; dotted, the population minimiser's own.

    Args:
        summary: `learning/summary.parquet`.
        slopes: `learning/slopes.parquet`.
    """
    setting, level = first_setting(summary)
    here = (pl.col("setting") == setting) & (pl.col("level") == level)
    rows = summary.filter(here & (pl.col("n") > 0) & (pl.col("quantity") == "forward_kl"))
    floors = slopes.filter(here & (pl.col("quantity") == "floor"))
    betas = floors["beta"].unique().sort().to_list()
    with look.applied():
        figure = look.figure(height=0.5 * look.width + 0.5)
        axes = figure.subplots(1, max(len(betas), 1), sharey=True, squeeze=False)[0]
        base = rows.filter(pl.col("objective") == "base").sort("n")
        for ax, beta in zip(axes, betas, strict=False):
            ax.set(xscale="log", yscale="log")
            ax.plot(base["n"], base["value"], color=GREY, lw=0.8, ls="--", gid="base")
            fixed = rows.filter((pl.col("tuning") == "fixed") & (pl.col("beta") == beta))
            for objective in in_order(objectives):
                line(ax, fixed.filter(pl.col("objective") == objective), "n", objective, look)
                for exact in floors.filter((pl.col("objective") == objective) & (pl.col("beta") == beta))["exact"]:
                    ax.axhline(exact, color=colour(objective, look), lw=0.8, ls=":", gid=f"floor {objective}")
            ax.text(0.97, 0.97, f"β = {beta:g}", transform=ax.transAxes, ha="right", va="top", fontsize=look.small)
        least = floors["exact"].min() if floors.height else None
        if least is not None:
            axes[0].set_ylim(0.5 * float(least), 300 * float(base["value"].max()))  # type: ignore[arg-type]
        axes[0].set_ylabel("KL(target‖policy) (nats)")
        place(axes[0], handles(objectives, look), look, "dotted: the population's", 2)
        figure.supxlabel("preference pairs n", fontsize=look.font_size)
    return figure

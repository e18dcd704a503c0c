"""What departures of the data from the model cost each objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from alignment_limits.figures.keys import place
from alignment_limits.figures.objectives import handles, line
from alignment_limits.figures.style import GREY, Look
from alignment_limits.learning.names import in_order

LEVELS = {
    "label-noise": "share of labels flipped",
    "ties-flipped": "ties ν, a coin thrown",
    "ties-dropped": "ties ν, dropped",
    "context-effects": "context effects (s.d. in logits)",
    "annotator-bias": "annotators' biases (s.d.)",
    "gamma-error": "assumed γ / true γ",
    "tempered-pairs": "temperature of the pairs' sampler",
    "best-of-n-pairs": "pairs from best-of-n, n",
    "reward-dimension": "dimension of the reward class",
}


def learning_settings(summary: pl.DataFrame, look: Look, objectives: Sequence[str]) -> Figure:
    """Forward KL (nats) against the level of every setting, at the largest n; coefficients held out, oracle dotted.

    Args:
        summary: `learning/summary.parquet`.
    """
    n = int(summary["n"].to_numpy().max())
    rows = summary.filter((pl.col("n") == n) & (pl.col("quantity") == "forward_kl"))
    settings = [s for s in LEVELS if rows.filter(pl.col("setting") == s)["level"].n_unique() > 1]
    wide = 2 if len(settings) > 1 else 1
    high = -(-len(settings) // wide)
    with look.applied():
        figure = look.figure(height=0.42 * look.width * high + 0.6)
        axes = figure.subplots(high, wide, sharey=True, squeeze=False)
        for ax, setting in zip(axes.ravel(), settings, strict=False):
            own = rows.filter(pl.col("setting") == setting)
            ax.set_yscale("log")
            _scale(ax, own["level"].unique().sort().to_list())
            base = own.filter(pl.col("objective") == "base").sort("level")
            ax.plot(base["level"], base["value"], color=GREY, lw=0.8, ls="--", gid="base")
            for objective in in_order(objectives):
                chosen = own.filter(pl.col("objective") == objective)
                line(ax, chosen.filter(pl.col("tuning") == "oracle"), "level", objective, look, style=":", bars=False)
                line(ax, chosen.filter(pl.col("tuning") == "held-out"), "level", objective, look)
            ax.set_xlabel(LEVELS[setting])
        for ax in axes.ravel()[len(settings) :]:
            ax.set_visible(False)
        figure.supylabel(f"KL(target‖policy) (nats), n = {n:,}", fontsize=look.font_size)
        key = [*handles(objectives, look), Line2D([], [], color=GREY, lw=0.8, ls="--", label="base")]
        place(axes[0, 0], key, look, "β held out (dotted: oracle)", 4 if look.width > 6 else 2)
    return figure


def _scale(ax: Any, levels: Sequence[float]) -> None:
    """Logarithmic where levels are positive and span a factor of eight, with the levels themselves as ticks."""
    if levels[0] > 0 and levels[-1] >= 8 * levels[0]:
        ax.set_xscale("log")
        ax.set_xticks(levels, [f"{level:g}" for level in levels])
        ax.xaxis.set_minor_locator(NullLocator())

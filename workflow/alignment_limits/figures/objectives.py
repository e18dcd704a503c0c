"""One look for each objective in every figure of learning: colour, marker, size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.lines import Line2D

from alignment_limits.figures.style import GREY, Look
from alignment_limits.learning.names import NAMES, in_order, named

MARKERS = {
    "reverse-kl": "o",
    "pmle": "s",
    "distillation": "D",
    "distillation-on-policy": "P",
    "rlhf": "^",
    "dpo": "v",
    "rebel": "<",
    "ipo": "X",
}


def colour(objective: str, look: Look) -> Any:
    return GREY if objective == "base" else Look(palette=look.palette, gold="", names=tuple(NAMES)).colour(objective)


def line(
    ax: Any, rows: pl.DataFrame, x: str, objective: str, look: Look, *, style: Any = "-", bars: bool = True
) -> None:
    """Means over seeds with 95% bars against a column; what is not finite is left out."""
    rows = rows.filter(pl.col("value").is_finite() & (pl.col("value") > 0)).sort(x)
    at, value, low, high = (rows[c].to_numpy() for c in (x, "value", "low", "high"))
    shade = colour(objective, look)
    if bars:
        ax.vlines(at, np.maximum(low, value / 50), high, color=shade, lw=0.8, alpha=0.6)
    # coinciding curves are nested: the first of the key is the widest
    width = (1 - list(NAMES).index(objective) / len(NAMES)) ** 2
    own = {"marker": MARKERS[objective], "ms": 2.0 + 4.0 * width, "mew": 0} if bars else {}
    (drawn,) = ax.plot(at, value, color=shade, ls=style, lw=0.6 + (2.6 if bars else 1.0) * width, **own)
    drawn.set_gid(objective)


def handles(objectives: Sequence[str], look: Look) -> list[Line2D]:
    return [
        Line2D([], [], color=colour(o, look), marker=MARKERS[o], ms=3, mew=0, lw=1.0, label=named(o))
        for o in in_order(objectives)
    ]

"""What is known exactly beside what was estimated, on the KL-reward plane of one reward."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.report.figures.curves import Curve, pieces
from alignment_limits.report.figures.policies import MARKERS
from alignment_limits.report.figures.style import BEST_OF_N, GREY, INK, Look, label, outside_key


def exact(
    frontier: pl.DataFrame, best_of_n: pl.DataFrame, policies: pl.DataFrame | None, look: Look, *, evaluated: str
) -> Figure:
    """Gain against KL. Lines and filled markers are exact, for the study's own prompts; hollow markers with bars are
    estimates and their 95% intervals.

    Args:
        frontier, best_of_n, policies: tables of `exact/`; no policies, no markers.
    """
    own = (pl.col("optimized") == evaluated) & (pl.col("evaluated") == evaluated) & (pl.col("budget") == "average")
    points = frontier.filter(own & (pl.col("at") == "kl") & (pl.col("quantity") == "gain")).sort("kl")
    handles = [_line(INK, "limit"), _line(BEST_OF_N, "best-of-n", marker=".")]
    with look.applied():
        figure = look.figure(height=0.8 * look.width)
        ax = figure.subplots()
        kl, gain = (np.concatenate([[0.0], points[name].to_numpy()]) for name in ("kl", "exact"))
        line = Curve(kl, gain, gain, gain, np.isfinite(gain))
        ax.plot(*pieces(line, gain, True), color=INK, lw=1.4, zorder=2)[0].set_gid("limit")
        _estimates(ax, points["kl"].to_list(), points, INK, "o", "limit")
        wide = best_of_n.filter(own & (pl.col("method") == "best-of-n"))
        _pairs(ax, wide, ["n"], BEST_OF_N, "o", "best-of-n", join=True)
        if policies is not None:
            rows = policies.filter(pl.col("evaluated") == evaluated)
            groups = rows.select("objective", "optimized").unique(maintain_order=True).rows()
            for i, (group, colour) in enumerate(zip(groups, sns.color_palette(look.palette, len(groups)), strict=True)):
                some = rows.filter(
                    pl.concat_str("objective", "optimized", separator="\n") == "\n".join(map(str, group))
                )
                _pairs(ax, some, ["policy"], colour, MARKERS[i % len(MARKERS)], f"{group[0]} on {group[1]}")
                text = label(f"{group[0]} on {group[1]}", 40)
                handles.append(_line(colour, text, marker=MARKERS[i % len(MARKERS)], lw=0))
        handles.append(Line2D([], [], color=GREY, marker="o", mfc="white", ms=3.6, lw=0, label="estimates"))
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        ax.set_xlabel("KL from the base model (nats per reply)")
        ax.set_ylabel(f"gain in {'gold' if evaluated == look.gold else label(evaluated, 30)} (base s.d.)")
        outside_key(figure, handles, look)
    return figure


def _line(colour: Any, name: str, **look: Any) -> Line2D:
    return Line2D([], [], **{"color": colour, "lw": 1.2, "ms": 4, "mew": 0, "label": name} | look)


def _pairs(
    ax: Any, rows: pl.DataFrame, key: list[str], colour: Any, marker: str, name: str, *, join: bool = False
) -> None:
    """Exact KL and gain as filled markers, estimated ones hollow beside them."""
    spent, gained = (rows.filter(pl.col("quantity") == q) for q in ("kl", "gain"))
    both = gained.join(spent.select(*key, x="exact", x_estimate="estimate"), on=key).sort("x")
    (line,) = ax.plot(
        both["x"], both["exact"], "-" if join else "", color=colour, marker=marker, ms=3.8, mew=0, lw=0.8, zorder=4
    )
    line.set_gid(name)
    _estimates(ax, both["x_estimate"].to_list(), both, colour, marker, name)


def _estimates(ax: Any, x: list[float], rows: pl.DataFrame, colour: Any, marker: str, name: str) -> None:
    middle, low, high = (rows[column].to_numpy() for column in ("estimate", "low", "high"))
    bars = np.clip(np.nan_to_num(np.stack([middle - low, high - middle])), 0, None)
    drawn = ax.errorbar(
        x, middle, yerr=bars, fmt=marker, color=colour, mfc="white", ms=3.6, mew=0.7, elinewidth=0.7, zorder=3
    )
    drawn.lines[0].set_gid(f"{name}:estimates")

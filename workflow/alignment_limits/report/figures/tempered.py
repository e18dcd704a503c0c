"""Tempered sampling: the limit at KLs that base samples do not show, and the gain and cost of its replies."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from alignment_limits.report.figures.curves import Curve, curve, draw
from alignment_limits.report.figures.style import BEST_OF_N, GREY, INK, KL, PER_PROMPT, Look, label, outside_key
from alignment_limits.report.numbers import verdict

LEVELS = PER_PROMPT  # blue
MARK: dict[str, Any] = {"marker": "D", "ms": 3.0, "mew": 0.8}


def tempered(table: pl.DataFrame, frontier: pl.DataFrame, best_of_n: pl.DataFrame, look: Look) -> Figure:
    """The tempering reward's gain against KL (above), and against tokens per reply (below).

    Above, the limit from base samples (grey) and from tempered sampling (black, with its interval), best-of-n, and each
    level. Below, mean reward of each level's own replies and of best-of-n, both minus the base's, against new tokens
    drawn for one reply. What is not reliable is dashed or hollow.

    Args:
        table: `limits/tempered.parquet`.
        frontier: `limits/frontier.parquet`.
        best_of_n: `limits/best_of_n.parquet`.
    """
    reward, tokens = table["optimized"][0], table["base_tokens"][0]
    own = table.filter(pl.col("evaluated") == reward)
    budgets, levels = (own.filter(pl.col("at") == at).sort("kl") for at in ("kl", "level"))
    points = best_of_n.filter(
        (pl.col("optimized") == reward)
        & (pl.col("evaluated") == reward)
        & (pl.col("method") == "best-of-n")
        & (pl.col("budget") == "average")
        & pl.col("gain").is_finite()
    ).sort("n")
    with look.applied():
        figure = look.figure(height=min(1.25 * look.width, 5.2))
        top, bottom = figure.subplots(2, 1, sharey=True)
        draw(top, curve(frontier, reward, reward), colour=GREY, name="base", width=1.0, band=0)
        draw(top, _limit(budgets), colour=INK, name="tempered", width=1.5)
        _marks(top, levels, "kl", "gain", levels["reliable"], LEVELS, MARK, "levels")
        _marks(top, points, "kl", "gain", verdict(points, "gain"), BEST_OF_N, {"marker": "o", "ms": 3.2}, "best-of-n")
        drawn = levels.with_columns(cost=pl.col("tokens"))
        picked = points.with_columns(cost=pl.col("n") * tokens)
        bottom.plot(drawn["cost"], drawn["gain_drawn"], color=LEVELS, lw=0.8)
        bottom.plot(picked["cost"], picked["gain"], color=BEST_OF_N, lw=0.8)
        _marks(bottom, drawn, "cost", "gain_drawn", drawn["reliable"], LEVELS, MARK, "levels-cost")
        look_of = {"marker": "o", "ms": 3.2}
        _marks(bottom, picked, "cost", "gain", verdict(picked, "gain"), BEST_OF_N, look_of, "best-of-n-cost")
        bottom.set_xscale("log")
        for axis in (bottom.xaxis.set_major_formatter, bottom.xaxis.set_minor_formatter):
            axis(FuncFormatter(lambda x, _: f"{x:g}" if f"{x:g}"[0] in "125" else ""))
        top.set_xlim(0, 1.05 * max(own["kl"].max(), *points["kl"].to_list(), 0.1))
        top.set_ylim(0, None)
        top.set_xlabel(KL)
        bottom.set_xlabel("new tokens drawn for one reply")
        for ax in (top, bottom):
            ax.set_ylabel(f"gain in {label(reward, 24)}\n(base-model s.d.)")
        outside_key(figure, _handles(), look)
    return figure


def _limit(rows: pl.DataFrame) -> Curve:
    kl, gain, low, high = (
        np.concatenate([[0.0], rows[name].to_numpy()]) for name in ("kl", "gain", "gain_low", "gain_high")
    )
    return Curve(kl, gain, low, high, np.concatenate([[True], rows["reliable"].to_numpy()]))


def _marks(
    ax: Any, rows: pl.DataFrame, x: str, y: str, reliable: Any, colour: str, mark: dict[str, Any], name: str
) -> None:
    """Points of a table, hollow where they are not reliable."""
    for sure in (True, False):
        part = rows.filter(reliable if sure else ~reliable)
        face = colour if sure else "white"
        (line,) = ax.plot(part[x], part[y], color=colour, mfc=face, ls="", zorder=4, **mark)
        line.set_gid(name if sure else f"{name}-not-reliable")


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=INK, lw=1.5, label="limit, tempered sampling"),
        Line2D([], [], color=GREY, lw=1.0, label="limit, base samples"),
        Line2D([], [], color=LEVELS, lw=0, label="level of tempered sampling", **MARK),
        Line2D([], [], color=BEST_OF_N, lw=0, marker="o", ms=3.2, label="best-of-n"),
    ]

"""Side effects of optimising a reward: how length, truncation, refusals and other columns change with KL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.report.figures.curves import Curve, draw
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    GREY,
    INK,
    KL,
    WIDE,
    Look,
    label,
    outside_key,
    panel_title,
)
from alignment_limits.tables.sample_columns import CHARACTERS, SHARES, TOKENS
from alignment_limits.tradeoffs.side_effects import CONSTANT

MOST_PANELS = 8
_UNITS = {TOKENS: "tokens", CHARACTERS: "characters", **dict.fromkeys(SHARES, "percentage points")}
_TITLES = {
    TOKENS: "length in tokens",
    CHARACTERS: "length in characters",
    "truncated": "replies cut at the token limit",
    "refusal": "replies that refuse",
}


def side_effects(table: pl.DataFrame, look: Look, *, proxies: Sequence[str] = ()) -> Figure:
    """One panel a column: its change from the base model against KL, when each reward is optimised.

    Lines are tilts (gold black), open circles best-of-n by gold, squares policies. What is not reliable is dashed, or
    pale, and its band may leave the panel. A column that does not differ within any prompt has no panel, nor has the
    number of characters where that of tokens is known.

    Args:
        table: `tradeoffs/side_effects.parquet`.
        look: size and colours.
        proxies: rewards other than gold that have a line.
    """
    drawn = table.filter(pl.col("change").is_finite() & (pl.col("reason") != CONSTANT))
    columns = drawn.filter(pl.col("kind") == "column")
    if (columns["column"] == TOKENS).any():
        columns = columns.filter(pl.col("column") != CHARACTERS)
    drawn = columns if columns.height else drawn.filter(pl.col("optimized") == look.gold)
    names = drawn["column"].unique(maintain_order=True).to_list()[:MOST_PANELS]
    rewards = [r for r in (look.gold, *proxies) if r in set(drawn["optimized"].drop_nulls())]
    with look.applied():
        if not names:
            return _nothing(look)
        across = 2 if look.width >= WIDE and len(names) > 1 else 1
        down = -(-len(names) // across)
        figure = look.figure(height=(0.36 * look.width / across + 0.14) * down + 0.3)
        axes = np.atleast_1d(figure.subplots(down, across, sharex=True)).ravel()
        for ax in axes[len(names) :]:
            ax.set_visible(False)
        for ax, name in zip(axes, names, strict=False):
            _panel(ax, drawn.filter(pl.col("column") == name), name, rewards, look)
        axes[0].set_xlim(0, 1.03 * float(drawn["kl"].max()))  # type: ignore[arg-type]
        figure.align_ylabels()
        figure.supxlabel(KL, fontsize=look.font_size)
        outside_key(figure, _key(rewards, drawn, look), look, title="optimised")
    return figure


def _nothing(look: Look) -> Figure:
    figure = look.figure(height=0.3 * look.width)
    ax = figure.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, "These samples have no column\nthat differs within a prompt.", ha="center", va="center")
    return figure


def _panel(ax: Any, rows: pl.DataFrame, name: str, rewards: Sequence[str], look: Look) -> None:
    share = name in SHARES and rows["kind"][0] == "column"
    own = rows.with_columns(pl.col("base", "change", "change_low", "change_high") * (100 if share else 1))
    ax.axhline(0, color=GREY, lw=0.5, zorder=1)
    for name_of in reversed(rewards):
        tilt = _curve(own.filter((pl.col("optimized") == name_of) & (pl.col("method") == "tilt")))
        style: dict[str, Any] = {"colour": look.colour(name_of), "style": look.stroke(name_of)}
        draw(ax, tilt, name=name_of, band=0.18 if name_of == look.gold else 0.08, **style)
    picked = own.filter((pl.col("method") == "best-of-n") & (pl.col("optimized") == look.gold) & (pl.col("n") > 1))
    _marks(ax, picked, look, marker="o", colour=BEST_OF_N)
    for (reward,), part in own.filter(pl.col("method") == "policy").group_by(["optimized"], maintain_order=True):
        _marks(ax, part, look, marker="s", colour=look.colour(str(reward or look.gold)))
    shown = own.filter(pl.col("reliable"))
    ends = [own["change"], shown["change_low"], shown["change_high"], pl.Series([0.0])]
    low, high = (float(getattr(pl.concat(ends).drop_nans(), end)()) for end in ("min", "max"))
    room = 0.08 * max(high - low, 1e-9)
    ax.set_ylim(low - room, high + room)
    before = own["base"][0]
    unit = _UNITS.get(name, "own units") if rows["kind"][0] == "column" else "base-model s.d."
    where = f" (base {before:.3g}{' %' if share else ''})" if rows["kind"][0] == "column" else ""
    panel_title(ax, f"{_TITLES.get(name, label(name, 40))}{where}", look)
    ax.set_ylabel(f"change\n({unit})")


def _curve(rows: pl.DataFrame) -> Curve:
    rows = rows.sort("kl")

    def column(name: str) -> np.ndarray:
        return np.concatenate([[0.0], rows[name].to_numpy()])

    reliable = np.concatenate([[True], rows["reliable"].to_numpy()]).astype(bool)
    return Curve(column("kl"), column("change"), column("change_low"), column("change_high"), reliable)


def _marks(ax: Any, rows: pl.DataFrame, look: Look, *, marker: str, colour: Any) -> None:
    """Open points with bars, pale where not reliable."""
    for row in rows.iter_rows(named=True):
        alpha = 1.0 if row["reliable"] else 0.35
        ax.vlines(row["kl"], row["change_low"], row["change_high"], color=colour, lw=0.8, alpha=alpha, zorder=4)
        style = {"mfc": "white", "mec": colour, "mew": 0.9, "ms": 3.4, "alpha": alpha, "zorder": 5}
        ax.plot(row["kl"], row["change"], marker, **style)


def _key(rewards: Sequence[str], rows: pl.DataFrame, look: Look) -> list[Line2D]:
    handles = [
        Line2D(
            [], [], color=look.colour(r), ls=look.stroke(r), lw=1.3, label="gold" if r == look.gold else label(r, 40)
        )
        for r in rewards
    ]
    open_point: dict[str, Any] = {"ls": "", "mfc": "white", "mew": 0.9, "ms": 3.4}
    if (rows["method"] == "best-of-n").any():
        handles.append(Line2D([], [], marker="o", mec=BEST_OF_N, label="gold by best-of-n", **open_point))
    if (rows["method"] == "policy").any():
        handles.append(Line2D([], [], marker="s", mec=INK, label="policies", **open_point))
    return handles

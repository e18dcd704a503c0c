"""Limits within budgets of other divergences than KL: one panel a divergence."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.report.figures.curves import Curve, draw
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    BOUNDS,
    INK,
    PER_PROMPT,
    Look,
    label,
    outside_key,
    panel_title,
)

_COLUMNS = ("spent", "gain", "gain_low", "gain_high")
_TITLES = {
    "chi2": ("χ²", "χ²"),
    "reverse-kl": ("KL of the base from the policy", "nats"),
    "total-variation": ("total variation", "share of probability"),
    "renyi-inf": ("log of the largest ratio", "nats"),
}


def divergences(table: pl.DataFrame, look: Look) -> Figure:
    """One panel a divergence: the largest gain within each budget, and best-of-n at what it spends.

    Gold is drawn, or the first reward of the table. Where a limit is not reliable, a bar marks what it is at least.

    Args:
        table: `tradeoffs/divergences.parquet`.
        look: size and colours.
    """
    reward = look.gold if (table["optimized"] == look.gold).any() else table["optimized"][0]
    own = table.filter(pl.col("optimized") == reward)
    kinds = own["divergence"].unique(maintain_order=True).to_list()
    with look.applied():
        across = min(2, len(kinds))
        down = -(-len(kinds) // across)
        figure = look.figure(height=(0.75 * look.width / across + 0.15) * down + 0.2)
        axes = np.atleast_1d(figure.subplots(down, across, sharey=True)).ravel()
        for ax in axes[len(kinds) :]:
            ax.set_visible(False)
        seen: set[str] = set()
        for ax, kind in zip(axes, kinds, strict=False):
            seen |= _panel(ax, own.filter(pl.col("divergence") == kind), kind, look)
        gains = pl.concat([own.filter("reliable")["gain_high"], own["best_of_n"], own["at_least"]])
        top = gains.drop_nulls().drop_nans()
        if len(top):
            axes[0].set_ylim(0, 1.08 * float(top.max()))  # type: ignore[arg-type]
        of = "gold" if reward == look.gold else label(reward, 24)
        for ax in axes[::across]:
            ax.set_ylabel(f"gain in {of}\n(base-model s.d.)")
        outside_key(figure, _key(seen), look)
    return figure


def _panel(ax: Any, rows: pl.DataFrame, kind: str, look: Look) -> set[str]:
    order = kind.removeprefix("renyi-")
    title, axis = _TITLES.get(kind, (f"Rényi, order {order}", "nats"))
    panel_title(ax, title, look)
    ax.set_xlabel(axis)
    seen = set()
    for budget, colour in (("per-prompt", PER_PROMPT), ("average", INK)):
        part = rows.filter(pl.col("budget") == budget).sort("spent")
        if part.is_empty():
            continue
        spent, gain, *ends = (np.concatenate([[0.0], part[c].to_numpy()]) for c in _COLUMNS)
        reliable = np.concatenate([[True], part["reliable"].to_numpy()]).astype(bool)
        draw(ax, Curve(spent, gain, ends[0], ends[1], reliable), colour=colour, name=f"{kind}:{budget}", band=0.15)
        seen.add(budget)
        for row in part.filter(~pl.col("reliable") & (pl.col("at_least") > 0)).iter_rows(named=True):
            ax.plot(row["spent"], row["at_least"], **BOUNDS | {"color": colour})
            seen.add("least")
    picked = rows.filter(pl.col("best_of_n").is_finite()).unique("n").sort("n")
    for row in picked.iter_rows(named=True):
        ax.vlines(row["spent"], row["best_of_n_low"], row["best_of_n_high"], color=BEST_OF_N, lw=0.8, zorder=4)
        ax.plot(row["spent"], row["best_of_n"], "o", mfc="white", mec=BEST_OF_N, mew=0.9, ms=3.4, zorder=5)
        seen.add("best-of-n")
    ax.set_xlim(0, 1.06 * float(rows["spent"].max()))  # type: ignore[arg-type]
    return seen


def _key(seen: set[str]) -> list[Line2D]:
    handles = {
        "average": Line2D([], [], color=INK, lw=1.3, label="limit, average budget"),
        "per-prompt": Line2D([], [], color=PER_PROMPT, lw=1.3, label="limit, per-prompt budget"),
        "best-of-n": Line2D([], [], marker="o", ls="", mfc="white", mec=BEST_OF_N, mew=0.9, ms=3.4, label="best-of-n"),
        "least": Line2D([], [], marker="_", ls="", color=INK, mew=0.9, ms=5, label="limit, at least"),
    }
    return [handle for name, handle in handles.items() if name in seen]

"""Win rate against KL: how often the chosen reply beats a fresh one of the base model, by gold's judgement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.interpolate import PchipInterpolator

from alignment_limits.figures.keys import WIDE, columns, key, place
from alignment_limits.figures.style import ENSEMBLE, GREY, INK, Look, order
from alignment_limits.limits.worlds import Uniform

METHODS = {"best-of-n": "o", "soft-best-of-n": "s", "best-of-poisson": "^", "chi2-pessimism": "D"}


def win_rate(table: pl.DataFrame, look: Look, *, proxies: Sequence[str] = (), ensembles: Sequence[str] = ()) -> Figure:
    """Above: best-of-n selected by gold (black), by each proxy, by each ensemble. Below: ways of choosing by gold.

    Above, P(the pick beats a base reply in gold) + P(tie)/2; dotted, the most any policy can win at that KL. Below,
    what is missing to that most, in percentage points. Horizontal: KL (nats per sequence).

    Args:
        table: `limits/best_of_n.parquet`.
    """
    rows = table.filter(
        (pl.col("evaluated") == look.gold) & (pl.col("budget") == "average") & pl.col("win_rate").is_finite()
    ).sort("kl")
    right = 1.05 * max([0.5, *rows["kl"].to_list()])
    by_gold = rows.filter(pl.col("optimized") == look.gold)
    methods = [m for m in METHODS if m in by_gold["method"]]
    below = len(methods) > 1
    best = rows.filter(pl.col("method") == "best-of-n")
    last = {n: best.filter(pl.col("optimized") == n)["win_rate"].to_list()[-1:] for n in (*proxies, *ensembles)}
    names = order([n for n, found in last.items() if found], {n: found[0] for n, found in last.items() if found})
    with look.applied():
        beside = below and look.width >= WIDE
        wide = columns(names, look, 72 * look.width / (2 if beside else 1) - 6 * look.font_size)
        keys = [-(-len(names) // wide), *([1 + -(-len(methods) // 2)] if below else [])]
        panels = [0.38 * look.width] if beside else [part * look.width for part in (0.52, 0.36)[: len(keys)]]
        figure = look.figure(height=sum(panels) + 0.14 * ((max if beside else sum)(keys) + 1) + 0.35)
        layout: dict[str, Any] = {} if beside else {"height_ratios": panels}
        axes = np.atleast_1d(figure.subplots(*((1, 2) if beside else (len(keys), 1)), sharex=True, **layout))
        _ceiling(axes[0], right)
        for name in (look.gold, *names):
            style = ENSEMBLE if name in ensembles else "-"
            own = best.filter(pl.col("optimized") == name)
            _points(axes[0], own, colour=look.colour(name), marker="o", style=style, gid=name)
        key(axes[0], names, look, ensembles, "best-of-n by gold (black) or by", wide)
        axes[0].set_xlim(0, right)
        axes[0].set_ylim(min(0.48, *(rows["win_rate"].to_list() or [0.5])) - 0.01, 1.0)
        axes[0].set_ylabel("win rate in gold\nagainst the base model")
        if below:
            _methods(axes[1], by_gold, methods, look)
            axes[1].set_ylabel("short of the most\n(percentage points)")
        figure.supxlabel("KL from the base model (nats per sequence)", fontsize=look.font_size)
    return figure


def most(kls: Iterable[float]) -> np.ndarray:
    """The largest win rate of any policy at each KL (nats): gold's quantile is uniform, and its tilt is known.

    With tied scores it is a bound: averaging the quantile over an atom can only lose.
    """
    return np.array([0.5 + Uniform().limit(k) for k in kls])


def _methods(ax: Any, by_gold: pl.DataFrame, methods: Sequence[str], look: Look) -> None:
    """Every way of choosing by gold; soft best-of-n has a curve for each temperature, hotter ones paler."""
    columns = ("win_rate", "win_rate_low", "win_rate_high")
    top = pl.Series(most(by_gold["kl"]))
    short = by_gold.with_columns((100 * (top - pl.col(c))).alias(c) for c in columns).filter(pl.col("kl") > 0)
    palette = Look(palette=look.palette, gold="best-of-n", names=tuple(methods[1:]))
    ax.axhline(0, color=GREY, lw=0.8, ls=":", zorder=2)
    handles = []
    for method in methods:
        own = short.filter(pl.col("method") == method)
        heats = own["temperature"].unique().sort().to_list() if method == "soft-best-of-n" else [None]
        for i, heat in enumerate(heats):
            part = own if heat is None else own.filter(pl.col("temperature") == heat)
            look_of = {"colour": palette.colour(method), "marker": METHODS[method], "alpha": 1 - 0.5 * i / len(heats)}
            text = method if heat is None else f"soft, temperature {heat:g}"
            _points(ax, part, style="-", gid=text, **look_of)
            colour, marker, alpha = look_of.values()
            handles.append(Line2D([], [], color=colour, marker=marker, ms=3, lw=0.8, alpha=alpha, label=text))
    ax.invert_yaxis()
    place(ax, handles, look, "ways of choosing by gold", 2)


def _points(ax: Any, rows: pl.DataFrame, *, colour: Any, marker: str, style: Any, gid: str, alpha: float = 1.0) -> None:
    """Points with 95% bars, joined by a monotone cubic in the root of KL, in which these curves are nearly straight."""
    rows = rows.unique("kl", keep="first", maintain_order=True)
    x, y, low, high = (rows[c].to_numpy() for c in ("kl", "win_rate", "win_rate_low", "win_rate_high"))
    ax.vlines(x, low, high, color=colour, lw=0.8, alpha=0.6 * alpha, zorder=3)
    (dots,) = ax.plot(x, y, color=colour, marker=marker, ms=2.6, mew=0, ls="none", alpha=alpha, zorder=4)
    dots.set_gid(gid)
    if len(x) > 1:
        root = np.linspace(np.sqrt(x[0]), np.sqrt(x[-1]), 100)
        between = PchipInterpolator(np.sqrt(x), y)
        ax.plot(root**2, between(root), color=colour, lw=0.9, ls=style, alpha=alpha, zorder=3)


def _ceiling(ax: Any, right: float) -> None:
    """The most that can be won, and the half that the base model itself wins."""
    x = np.linspace(0, np.sqrt(right), 80) ** 2
    (line,) = ax.plot(x, most(x), color=GREY, lw=0.8, ls=":", zorder=2)
    line.set_gid("ceiling")
    ax.axhline(0.5, color=INK, lw=0.5, alpha=0.5, zorder=1)

"""Win rate against KL: how often the chosen reply beats a fresh one of the base model, by gold's judgement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.limits.worlds import Uniform
from alignment_limits.report.figures.curves import Curve, draw_names, names_fit, pieces
from alignment_limits.report.figures.style import (
    DASHED,
    GREY,
    INK,
    KL,
    LINE,
    WIDE,
    Look,
    columns,
    fold,
    height,
    key,
    key_columns,
    key_height,
    no_estimate,
    order,
    panel_title,
    place,
)
from alignment_limits.report.numbers import verdict

METHODS = {"best-of-n": "o", "soft-best-of-n": "s", "best-of-poisson": "^", "chi2-pessimism": "D"}


def win_rate(table: pl.DataFrame, look: Look, *, proxies: Sequence[str] = (), ensembles: Sequence[str] = ()) -> Figure:
    """Above: best-of-n selected by gold (black), by each proxy, by each ensemble. Below: ways of choosing by gold.

    Above, P(the pick beats a base reply in gold) + P(tie)/2; dotted, the upper bound of any policy at that KL. Below,
    how far below that upper bound ways of choosing by gold stay, in percentage points. Horizontal: KL (nats per
    sequence). What is not reliable is hollow and dashed.

    Args:
        table: `limits/best_of_n.parquet`.
    """
    rows = possible(
        table.filter(
            (pl.col("evaluated") == look.gold) & (pl.col("budget") == "average") & pl.col("win_rate").is_finite()
        )
    ).sort("kl")
    right = 1.05 * max([0.5, *rows["kl"].to_list()])
    by_gold = rows.filter(pl.col("optimized") == look.gold)
    methods = [m for m in METHODS if m in by_gold["method"]]
    below = len(methods) > 1
    best = rows.filter(pl.col("method") == "best-of-n")
    points = {n: best.filter(pl.col("optimized") == n) for n in (look.gold, *proxies, *ensembles)}
    last = {n: (own["kl"][-1], own["win_rate"][-1]) for n, own in points.items() if own.height}
    names = order([n for n in last if n != look.gold], {n: wins for n, (_, wins) in last.items()})
    ways = _ways(by_gold, methods, look) if below else []
    with look.applied():
        beside = below and look.width >= WIDE
        room = 72 * look.width / (2 if beside else 1) - 6 * look.font_size
        wide, labels = columns(names, look, room), [str(h.get_label()) for *_, h in ways]
        tall = 0.8 * 72 * (0.38 if beside else 0.52) * look.width
        at_ends = names_fit((look.gold, *names), look, room, tall) and bool(last.get(look.gold))
        wide_below = key_columns(labels, look, room, most=2)
        first = LINE * look.font_size / 72 if at_ends else height(names, look, wide)
        keys = [first, *([key_height(labels, look, wide_below, titles=1)] if below else [])]
        panels = [0.38 * look.width] if beside else [part * look.width for part in (0.52, 0.36)[: len(keys)]]
        figure = look.figure(height=sum(panels) + (max if beside else sum)(keys) + 0.5)
        layout: dict[str, Any] = {} if beside else {"height_ratios": panels}
        axes = np.atleast_1d(figure.subplots(*((1, 2) if beside else (len(keys), 1)), sharex=True, **layout))
        _ceiling(axes[0], right)
        for name in (look.gold, *names):
            style = look.stroke(name, ensemble=name in ensembles)
            own = best.filter(pl.col("optimized") == name)
            _points(axes[0], own, colour=look.colour(name), marker=look.mark(name), style=style, gid=name)
        if at_ends:
            panel_title(axes[0], "best-of-n selected by", look)
        else:
            key(axes[0], names, look, ensembles, "best-of-n selected by gold (black) or by", wide)
        axes[0].set_xlim(0, right)
        axes[0].set_ylim(min(0.48, *(rows["win_rate"].to_list() or [0.5])) - 0.01, 1.0)
        axes[0].set_ylabel("win rate in gold\nagainst the base model")
        if at_ends:
            shown = {look.gold: "gold"}
            draw_names(axes[0], {n: last[n] for n in (look.gold, *names)}, look, shown)
        if below:
            axes[1].axhline(0, color=GREY, lw=0.8, ls=":", zorder=2)
            for part, style, handle in ways:
                _points(axes[1], part, style="-", gid=str(handle.get_label()), **style)
            axes[1].invert_yaxis()
            place(axes[1], [h for *_, h in ways], look, "ways of choosing by gold", wide_below)
            axes[1].set_ylabel("win rate below the bound\n(percentage points)")
        figure.supxlabel(KL, fontsize=look.font_size)
        if not rows["_reliable"].all():
            some = rows["_reliable"].any()
            text = "Hollow points and dashed lines are not reliable." if some else no_estimate(rows, "win_rate")
            text = fold(text, look)
            figure.set_figheight(figure.get_figheight() + LINE * text.count("\n") * look.small / 72)
            figure.suptitle(text, fontsize=look.small, color=GREY)
    return figure


def possible(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `_reliable`, their verdict, and no win rate above what is possible at its KL.

    A win rate whose interval reaches the upper bound is drawn at it; one that is significantly above is left out.
    """
    top = pl.Series(most(rows["kl"]), dtype=pl.Float64)
    rows = rows.with_columns(_reliable=verdict(rows, "win_rate"), _top=top)
    above = pl.col("win_rate") > pl.col("_top")
    rows = rows.filter(~(above & (pl.col("win_rate_low") > pl.col("_top")).fill_null(False)))
    return rows.with_columns(
        pl.when(above & pl.col(c).is_finite()).then(pl.min_horizontal(c, "_top")).otherwise(c).alias(c) for c in _WINS
    )


_WINS = ("win_rate", "win_rate_low", "win_rate_high")


def most(kls: Iterable[float]) -> np.ndarray:
    """The largest win rate of any policy at each KL (nats): gold's quantile is uniform, and its tilt is known.

    With tied scores it is a bound: averaging the quantile over an atom can only lose.
    """
    return np.array([0.5 + Uniform().limit(k) for k in kls])


def _ways(
    by_gold: pl.DataFrame, methods: Sequence[str], look: Look
) -> list[tuple[pl.DataFrame, dict[str, Any], Line2D]]:
    """Every way of choosing by gold: how far it stays below the bound, its look, its entry in the key.

    Soft best-of-n has a curve for each temperature, hotter ones paler.
    """
    swapped = {"win_rate": "win_rate", "win_rate_low": "win_rate_high", "win_rate_high": "win_rate_low"}
    short = by_gold.with_columns((100 * (pl.col("_top") - pl.col(c))).alias(name) for name, c in swapped.items())
    short = short.filter(pl.col("kl") > 0)
    palette = Look(palette=look.palette, gold="best-of-n", names=tuple(methods[1:]))
    out = []
    for method in methods:
        own = short.filter(pl.col("method") == method)
        heats = own["temperature"].unique().sort().to_list() if method == "soft-best-of-n" else [None]
        for i, heat in enumerate(heats):
            part = own if heat is None else own.filter(pl.col("temperature") == heat)
            colour, marker, alpha = palette.colour(method), METHODS[method], 1 - 0.5 * i / len(heats)
            text = method if heat is None else f"soft, temperature {heat:g}"
            handle = Line2D([], [], color=colour, marker=marker, ms=3, mew=0, lw=0.8, alpha=alpha, label=text)
            out.append((part, {"colour": colour, "marker": marker, "alpha": alpha}, handle))
    return out


def _points(ax: Any, rows: pl.DataFrame, *, colour: Any, marker: str, style: Any, gid: str, alpha: float = 1.0) -> None:
    """Points with 95% bars, joined by a monotone cubic in the root of KL, in which these curves are nearly straight.

    What is not reliable is hollow, and joined by thin dashes.
    """
    rows = rows.unique("kl", keep="first", maintain_order=True)
    x, y, low, high = (rows[c].to_numpy() for c in ("kl", *_WINS))
    ax.vlines(x, low, high, color=colour, lw=0.8, alpha=0.6 * alpha, zorder=3)
    c = Curve(x, y, low, high, rows["_reliable"].to_numpy())
    look = {"marker": marker, "ms": 2.6, "mew": 0.6, "mec": colour, "ls": "none", "alpha": alpha, "zorder": 4}
    (dots,) = ax.plot(x, y, color=colour, **look)
    dots.set_gid(gid)
    (hollow,) = ax.plot(x[~c.reliable], y[~c.reliable], color=colour, **(look | {"mfc": "white", "zorder": 4.1}))
    hollow.set_gid(f"{gid}:unreliable")
    if len(x) > 1:
        ax.plot(*pieces(c, y, True), color=colour, lw=0.9, ls=style, alpha=alpha, zorder=3)
        ax.plot(*pieces(c, y, False), color=colour, lw=0.6, ls=DASHED, alpha=0.7 * alpha, zorder=3)


def _ceiling(ax: Any, right: float) -> None:
    """The upper bound of the win rate, and the half that the base model itself wins."""
    x = np.linspace(0, np.sqrt(right), 80) ** 2
    (line,) = ax.plot(x, most(x), color=GREY, lw=0.8, ls=":", zorder=2)
    line.set_gid("ceiling")
    ax.axhline(0.5, color=INK, lw=0.5, alpha=0.5, zorder=1)

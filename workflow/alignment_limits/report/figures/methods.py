"""How close methods come to the limit: best-of-n and its relatives by their win rate, tempered sampling, many studies.

- `win_rate`: how often the chosen reply beats a fresh one of the base model, by gold's judgement, against KL.
- `tempered`: the limit at KLs that base samples do not show, and the gain and cost of the replies of tempered sampling.
- `panels`: the frontiers of several studies, and how close best-of-n comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from alignment_limits.limits.worlds import Uniform
from alignment_limits.report.figures.curves import (
    Curve,
    curve,
    draw,
    draw_bounds,
    draw_names,
    limit_curve,
    names_fit,
    ordered,
    pieces,
)
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    BOUNDS,
    DASHED,
    GAIN,
    GREY,
    INK,
    KL,
    LINE,
    PER_PROMPT,
    WIDE,
    Look,
    columns,
    fold,
    height,
    key,
    key_columns,
    key_height,
    label,
    no_estimate,
    order,
    outside_key,
    panel_title,
    place,
)
from alignment_limits.report.numbers import verdict, verdict_of

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


@dataclass(frozen=True)
class Panel:
    """One study: its title, `limits/frontier.parquet`, `limits/best_of_n.parquet`, gold and proxies by name."""

    title: str
    frontier: pl.DataFrame
    best_of_n: pl.DataFrame
    gold: str
    proxies: tuple[str, ...]


def panels(studies: Sequence[Panel], look: Look) -> Figure:
    """Gain in gold against KL, a panel a study: the limit (black, 95% band), best-of-n, gold under each proxy.

    Average budget. What is not reliable is dashed and pale. Axes are shared: all is in gold's base standard
    deviations and nats. Keys are in the order of the curves from top to bottom.
    """
    looks = [replace(look, gold=s.gold, names=s.proxies) for s in studies]
    room = 72 * look.width / len(studies) - 6 * look.font_size
    with look.applied():
        shown = [[*_GOLDS, *s.proxies] for s in studies]
        keys = max(height(names, look, columns(names, look, room)) for names in shown)
        figure = look.figure(height=0.78 * look.width / len(studies) + keys + 0.4)
        axes = np.atleast_1d(figure.subplots(1, len(studies), sharex=True, sharey=True))
        highest, furthest = 0.1, 0.1
        for ax, study, own in zip(axes, studies, looks, strict=True):
            ideal = limit_curve(study.frontier, study.gold)
            curves = {name: curve(study.frontier, name, study.gold) for name in study.proxies}
            for name, under in curves.items():  # nothing gains more gold than the ideal
                ideal, curves[name] = ordered(ideal, under)
            common = min([ideal.reach, *(c.reach for c in curves.values())]) or ideal.end
            ranked = order(study.proxies, {name: c.at(common) for name, c in curves.items()})
            for name in ranked:
                draw(
                    ax, curves[name], colour=own.colour(name), name=name, style=own.stroke(name), band=0.1, under=ideal
                )
            draw(ax, ideal, colour=INK, name=study.gold, width=1.5)
            points = study.best_of_n.filter(
                (pl.col("optimized") == study.gold)
                & (pl.col("evaluated") == study.gold)
                & (pl.col("method") == "best-of-n")
                & (pl.col("n") > 1)
                & pl.col("gain").is_finite()
            ).sort("n")
            _points_of_panel(ax, points, own)
            place(ax, _key_of_panels(ranked, own), own, study.title, columns([*_GOLDS, *ranked], own, room))
            drawn = [ideal.high[ideal.reliable], ideal.gain, points["gain"].to_numpy()]
            highest = max(highest, float(np.nanmax(np.concatenate(drawn))))
            furthest = max(furthest, ideal.end, *points["kl"].to_list())
        lowest = min(0.0, *(float(np.nanmin(y)) for ax in axes for y in map(_heights, ax.get_lines()) if y.size))
        axes[0].set_ylim(1.1 * lowest, 1.08 * highest)
        axes[0].set_xlim(0, 1.03 * furthest)
        axes[0].set_ylabel(GAIN)
        figure.supxlabel(KL, fontsize=look.font_size)
    return figure


_GOLDS = ("limit", "best-of-n")


def _points_of_panel(ax: Any, points: pl.DataFrame, look: Look) -> None:
    """Open circles with 95% bars, the smallest and the largest n named; paler where not reliable."""
    rows = points.unique("n", keep="first", maintain_order=True)  # one row per budget: same gain and KL
    for row in rows.iter_rows(named=True):
        alpha = 1.0 if verdict_of(row, "gain") else 0.4
        low, high = row["gain_low"], row["gain_high"]
        ax.vlines(row["kl"], low, high, color=INK, lw=0.7, alpha=alpha, zorder=5)
        (mark,) = ax.plot(row["kl"], row["gain"], "o", ms=3.4, mfc="white", mec=INK, mew=0.8, alpha=alpha, zorder=6)
        mark.set_gid(f"best-of-{row['n']}")
        if row["n"] in (rows["n"][0], rows["n"][-1]):
            ax.annotate(
                f"n = {row['n']}",
                (row["kl"], row["gain"]),
                xytext=(4, -3),
                textcoords="offset points",
                va="top",
                fontsize=look.small,
                color=INK,
                alpha=max(alpha, 0.7),
            )


def _key_of_panels(names: Sequence[str], look: Look) -> list[Line2D]:
    """The limit and best-of-n, then proxies."""
    golds = [
        Line2D([], [], color=INK, lw=1.5, label=_GOLDS[0]),
        Line2D([], [], color=INK, marker="o", ms=3.4, mfc="white", mew=0.8, lw=0, label=_GOLDS[1]),
    ]
    return golds + [Line2D([], [], color=look.colour(n), ls=look.stroke(n), lw=1.3, label=label(n, 40)) for n in names]


def _heights(line: Any) -> np.ndarray:
    """Finite y of a line."""
    y = np.asarray(line.get_ydata(), float)
    return y[np.isfinite(y)]


LEVELS = "#009e73"  # green of Okabe and Ito's set
MARK: dict[str, Any] = {"marker": "D", "ms": 3.0, "mew": 0.8}


def tempered(table: pl.DataFrame, frontier: pl.DataFrame, best_of_n: pl.DataFrame, look: Look) -> Figure:
    """The tempering reward's gain against KL (above), and against tokens per reply (below).

    Above, the limit from base samples (grey) and from tempered sampling (black, with its interval; blue under the
    per-prompt budget), best-of-n, each level, and bounds where the limit is not reliable. Below, mean reward of each
    level's own replies and of best-of-n, both minus the base's, against new tokens drawn for one reply. What is not
    reliable is dashed or hollow.

    Args:
        table: `limits/tempered.parquet`.
        frontier: `limits/frontier.parquet`.
        best_of_n: `limits/best_of_n.parquet`.
    """
    reward, tokens = table["optimized"][0], table["base_tokens"][0]
    own = table.filter(pl.col("evaluated") == reward)
    budgets, levels = (own.filter(pl.col("at") == at).sort("kl") for at in ("kl", "level"))
    average, each = (budgets.filter(pl.col("budget") == name) for name in ("average", "per-prompt"))
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
        limit = _limit(average)
        if each.height:
            draw(top, _limit(each), colour=PER_PROMPT, name="per-prompt", width=0.8, band=0, under=limit)
        draw(top, limit, colour=INK, name="tempered", width=1.5)
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
        bounded = draw_bounds(top, average.filter(~pl.col("reliable")))
        top.set_xlabel(KL)
        bottom.set_xlabel("new tokens drawn for one reply")
        for ax in (top, bottom):
            ax.set_ylabel(f"gain in {label(reward, 24)}\n(base-model s.d.)")
        outside_key(figure, _handles(each.height > 0, bounded), look)
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


def _handles(per_prompt: bool, bounded: str) -> list[Line2D]:
    return [
        Line2D([], [], color=INK, lw=1.5, label="limit, tempered sampling"),
        *([Line2D([], [], color=PER_PROMPT, lw=0.8, label="the same, KL bounded per prompt")] if per_prompt else []),
        Line2D([], [], color=GREY, lw=1.0, label="limit, base samples"),
        *([Line2D([], [], **BOUNDS, label=bounded)] if bounded else []),
        Line2D([], [], color=LEVELS, lw=0, label="level of tempered sampling", **MARK),
        Line2D([], [], color=BEST_OF_N, lw=0, marker="o", ms=3.2, label="best-of-n"),
    ]

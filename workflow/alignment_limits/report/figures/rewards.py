"""Rewards on the base model's own samples, and what a wrong one costs: under proxies and under ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.figures.curves import Curve, curve, draw, draw_names, limit_curve, names_fit, ordered
from alignment_limits.report.figures.style import (
    DASHED,
    GAIN,
    GREY,
    INK,
    KL,
    LINE,
    WIDE,
    Look,
    columns,
    height,
    key,
    label,
    nothing_reliable,
    order,
    outside_key,
    panel_title,
    place,
)
from alignment_limits.report.numbers import verdict

_NAME = 18  # characters of a line of a name
_BIN = 0.2  # base standard deviations
_REACH = 6.0  # the axis never goes further; samples beyond are counted in the outermost bins
_CROWDED = 1.12  # height of a row's tallest bar in units of the distance between rows


def of_scores(scores: pl.DataFrame, look: Look, rewards: Sequence[str]) -> Figure:
    """The figure from the standardised scores alone; `rewards` are in `look.names`, which orders the rows."""
    return reward_distributions(scores, within_prompt_spearman(scores, look.gold, look.names), look)


def reward_distributions(scores: pl.DataFrame, agreement: pl.DataFrame, look: Look) -> Figure:
    """One row per reward: a histogram of its standardised, prompt-centred scores, height ∝ √density.

    The square root shows tails and body at once and gives all bars the same noise. Dotted: the standard
    normal. Ticks under a row: its 1%, 50% and 99% quantiles. At the right, the mean within-prompt Spearman
    correlation with gold. Gold comes first, then the others from high to low correlation.

    Args:
        scores: `ensembles/standardised.parquet` (prompt_id, sample_id, one column per reward or ensemble).
        agreement: from `report.agreement.within_prompt_spearman`.
    """
    rho = dict(agreement.select("reward", "spearman").iter_rows())
    names = [look.gold, *order([n for n in look.names if n in scores.columns], rho)]
    values = {n: scores[n].drop_nulls().drop_nans().to_numpy() for n in names}
    reach = _reach(values)
    edges = np.arange(-reach, reach + _BIN / 2, _BIN)
    with look.applied():
        lines = max(1 + label(name, _NAME).count("\n") for name in names)
        figure = look.figure(height=max(0.3, 0.06 + LINE * lines * look.small / 72) * len(names) + 0.6)
        ax = figure.subplots()
        tallest = max(np.sqrt(_density(v, edges)).max() for v in values.values())
        grid = np.linspace(-reach, reach, 241)
        normal = np.sqrt(np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi))
        unit = _CROWDED / max(tallest, normal.max())
        for row, name in enumerate(names):
            base, z = -row, 2 + 3 * row
            _row(ax, values[name], edges, base, unit, look.colour(name), z, name)
            ax.plot(grid, base + unit * normal, color=GREY, lw=0.6, ls=(0, (1, 1.2)), zorder=z + 1)
            text = "" if name == look.gold else _rho(rho.get(name))
            ax.annotate(
                text,
                (1, base),
                xycoords=("axes fraction", "data"),
                xytext=(4, 2),
                textcoords="offset points",
                ha="left",
                va="bottom",
                fontsize=look.small,
                color=INK,
            )
        ax.annotate(
            "rank corre-\nlation with\ngold",
            (1, 0),
            xycoords=("axes fraction", "data"),
            xytext=(4, 2),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=look.small,
            color=GREY,
        )
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-(len(names) - 1) - 0.3, 1.25)
        ax.set_yticks([-i + 0.12 for i in range(len(names))], [label(n, _NAME) for n in names])
        for tick, name in zip(ax.get_yticklabels(), names, strict=True):
            tick.set(va="bottom" if "\n" not in label(name, _NAME) else "center", linespacing=1.0)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        figure.supxlabel("base-model score (s.d. from the prompt's mean)", fontsize=look.font_size)
    return figure


def _reach(values: dict[str, np.ndarray]) -> float:
    """Half-width of the axis: past all but one sample in 2,000 of every reward, a multiple of the bins."""
    far = max([3.0, *(float(np.quantile(np.abs(v), 0.9995)) for v in values.values() if v.size)])
    return min(_REACH, np.ceil(far))


def _density(v: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(np.clip(v, edges[0] + 1e-9, edges[-1] - 1e-9), edges)
    return np.asarray(counts / max(v.size, 1) / _BIN)


def _row(ax: Any, v: np.ndarray, edges: np.ndarray, base: float, unit: float, colour: Any, z: float, name: str) -> None:
    height = unit * np.sqrt(_density(v, edges))
    ax.stairs(base + height, edges, baseline=base, fill=True, color="white", lw=0, zorder=z)
    ax.stairs(base + height, edges, baseline=base, fill=True, color=colour, alpha=0.45, lw=0, zorder=z)
    stairs = ax.stairs(base + height, edges, baseline=base, color=colour, lw=0.6, zorder=z)
    stairs.set_gid(name)
    ax.plot(edges[[0, -1]], [base, base], color=colour, lw=0.5, zorder=z)
    if v.size:
        marks = np.clip(np.quantile(v, [0.01, 0.5, 0.99]), edges[0], edges[-1])
        ax.plot(marks, np.full(3, base - 0.06), ls="none", marker=2, ms=3, mew=0.9, color=INK, zorder=z + 2)


def _rho(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}".replace("-", "−")


def gold_under_proxies(
    table: pl.DataFrame, look: Look, *, proxies: Sequence[str], ensembles: Sequence[str] = ()
) -> Figure:
    """Gold gain (base standard deviations) against KL(π̂‖π₀) for each proxy and each ensemble optimised.

    One panel for single proxies, one for ensembles (long-short strokes, the single proxies in grey behind
    them); the ideal, gold itself optimised, is black in both. What is not reliable is dashed and pale; an estimate
    above the ideal, which nothing can pass, is drawn at it within noise, and not at all beyond.
    Average budget. Names are at the ends of the curves where there is room. Else a key has them in the order of the
    curves from top to bottom at the KL all can be compared at.

    Args:
        table: `limits/frontier.parquet`.
    """
    gold = look.gold
    ideal = limit_curve(table, gold)
    curves = {name: curve(table, name, gold) for name in (*proxies, *ensembles)}
    for name, own in curves.items():  # nothing gains more gold than the ideal
        ideal, curves[name] = ordered(ideal, own)
    groups = [(title, list(g)) for title, g in (("single proxies", proxies), ("ensembles", ensembles)) if g]
    with look.applied():
        beside = look.width >= WIDE
        rows = 1 if beside else max(len(groups), 1)
        room = 72 * look.width / (2 if beside else 1) - 6 * look.font_size
        panel = 0.46 * look.width / (1.3 if beside else 1)
        drawn = all(c.end > 0 for c in curves.values())
        at_ends = bool(groups) and drawn and all(names_fit(g, look, room, 0.8 * 72 * panel) for _, g in groups)
        keys = [LINE * look.font_size / 72 if at_ends else height(g, look, columns(g, look, room)) for _, g in groups]
        keys = keys or [0.0]
        figure = look.figure(height=rows * panel + (max(keys) if beside else sum(keys)) + 0.45)
        axes = figure.subplots(*((1, max(len(groups), 1)) if beside else (rows, 1)), sharex=True, sharey=True)
        for ax, (title, names) in zip(np.atleast_1d(axes), groups or [("", [])], strict=True):
            if title == "ensembles":
                for name in proxies:
                    behind: dict[str, Any] = {
                        "colour": "#b8b8b8",
                        "name": f"behind:{name}",
                        "width": 0.7,
                        "band": 0,
                        "zorder": 2,
                    }
                    draw(ax, curves[name], under=ideal, **behind)
            draw(ax, ideal, colour=INK, name=gold, width=1.5, band=0.1)
            common = min([ideal.reach, *(curves[n].reach for n in names)]) or ideal.end
            for name in (ranked := order(names, {n: curves[n].at(common) for n in names})):
                style = look.stroke(name, ensemble=name in ensembles)
                draw(ax, curves[name], colour=look.colour(name), name=name, style=style, band=0.12, under=ideal)
            if at_ends:
                panel_title(ax, title, look)
            else:
                key(ax, ranked, look, ensembles, title, columns(ranked, look, room))
            _label_limit(ax, ideal, look)
        _limits(np.atleast_1d(axes)[0], [ideal, *curves.values()])
        if at_ends:
            for ax, (_, names) in zip(np.atleast_1d(axes), groups, strict=True):
                draw_names(ax, {n: (curves[n].end, curves[n].at(curves[n].end)) for n in names}, look)
        if groups and not any(c.reach for c in curves.values()):
            rows_of = table.filter((pl.col("evaluated") == gold) & pl.col("optimized").is_in(list(curves)))
            for ax in np.atleast_1d(axes):
                nothing_reliable(ax, rows_of, "gain", look)
        figure.supylabel(GAIN, fontsize=look.font_size)
        if beside:
            figure.supxlabel(KL, fontsize=look.font_size)
        else:
            np.atleast_1d(axes)[-1].set_xlabel(KL)
    return figure


def _limits(ax: Any, curves: list[Curve]) -> None:
    """Axes around all estimates, and around the bands where they are reliable; zero is always in view."""
    values = [v for c in curves for v in (c.gain, c.low[c.reliable], c.high[c.reliable])]
    flat = np.concatenate(values)
    low, high = float(np.nanmin([0, *flat])), float(np.nanmax([0.1, *flat]))
    ax.set_ylim(low - 0.04 * (high - low) if low < 0 else 0, high + 0.06 * (high - low))
    ax.set_xlim(0, 1.02 * max(c.end for c in curves) or 1)
    if low < 0:
        for other in ax.figure.axes:
            other.axhline(0, color=GREY, lw=0.5, zorder=1)


def _label_limit(ax: Any, ideal: Curve, look: Look) -> None:
    """The word above and left of the black curve: frontiers are concave, so nothing is there."""
    x = 0.45 * ideal.end
    ax.annotate(
        "limit",
        (x, ideal.at(x)),
        xytext=(-7, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=look.small,
        color=INK,
    )


_PREDICTED = (0, (5, 1.5, 1, 1.5, 1, 1.5))
_SHIFT = {"mean": -0.12, "median": -0.04, "minimum": 0.04, "mean-variance": 0.12, "entropic": 0.2}


def ensemble_gap(table: pl.DataFrame, look: Look, *, beta: float) -> Figure:
    """Regularised gap at one β against K, the mean over subsets of the proxies; thin lines span the subsets.

    Hollow and dashed: the gap of some subset of that size is not reliable. The prediction (dash and dots) is from the
    members' error variances and correlations, for the mean and small errors; its floor (dotted) is what their mean
    correlation leaves however many there are.

    Args:
        table: `limits/ensembles.parquet`.
        beta: one of the table's temperatures, in units of the rewards' base spread.
    """
    rows = table.filter(pl.col("beta") == beta)
    single = rows.filter(pl.col("k") == 1)
    names = [a for a in _SHIFT if a in rows["aggregator"].unique()]
    palette = Look(palette=look.palette, gold="", names=tuple(names))
    with look.applied():
        figure = look.figure(height=1.9)
        ax = figure.subplots()
        handles: list[Any] = []
        all_reliable = True
        for name in names:
            # single members stand for every aggregator
            own = pl.concat([single, rows.filter((pl.col("aggregator") == name) & (pl.col("k") > 1))])
            own = own.with_columns(_reliable=verdict(own, "gap"))
            by_k = own.group_by("k").agg(
                mid=pl.col("gap").mean(), low=pl.col("gap").min(), high=pl.col("gap").max(),
                reliable=pl.col("_reliable").all(),
            ).sort("k")  # fmt: skip
            x, mid, reliable = ((by_k["k"] + _SHIFT[name]).to_numpy(), by_k["mid"].to_numpy(), by_k["reliable"])
            colour, trusted = palette.colour(name), reliable.to_numpy()
            ax.vlines(x, by_k["low"].to_numpy(), by_k["high"].to_numpy(), color=colour, lw=0.7, alpha=0.6)
            for i in range(len(x) - 1):
                both = trusted[i] and trusted[i + 1]
                ax.plot(
                    x[i : i + 2], mid[i : i + 2], color=colour, lw=1.0 if both else 0.65, ls="-" if both else DASHED
                )
            marks: dict[str, Any] = {"marker": "o", "ms": 2.6, "mew": 0.7, "mec": colour, "ls": "none", "color": colour}
            ax.plot(x, mid, zorder=3, **marks)[0].set_gid(name)
            ax.plot(x[~trusted], mid[~trusted], zorder=3.1, **(marks | {"mfc": "white"}))[0].set_gid(
                f"{name}:unreliable"
            )
            handles.append(Line2D([], [], color=colour, marker="o", ms=2.6, lw=1.0, label=name))
            all_reliable &= bool(trusted.all())
        predicted = (
            rows.filter(pl.col("aggregator") == "mean").group_by("k").agg(pl.col("gap_predicted").mean()).sort("k")
        )
        handles += ax.plot(
            predicted["k"],
            predicted["gap_predicted"],
            color=INK,
            lw=1.0,
            ls=_PREDICTED,
            label="prediction for the mean",
        )
        handles[-1].set_gid("predicted")
        floor = float(rows["gap_floor"].drop_nans().to_numpy().mean())
        handles.append(ax.axhline(floor, color=GREY, lw=0.8, ls=":", label="floor of the prediction", gid="floor"))
        if not all_reliable:
            look_of: dict[str, Any] = {
                "color": GREY,
                "marker": "o",
                "ms": 2.6,
                "mew": 0.7,
                "mfc": "white",
                "lw": 0.65,
                "ls": DASHED,
            }
            handles.append(Line2D([], [], label="not reliable", **look_of))
        ax.set_xticks(sorted(rows["k"].unique()))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("number of proxies in the ensemble")
        ax.set_ylabel(f"cost in gain − β·KL\nat β = {beta:g} (base-model s.d.)")
        outside_key(figure, handles, look)
    return figure


SHARED = ("neither", "features", "labels")  # what members of an ensemble share


def proxy_quality(proxies: pl.DataFrame, ensembles: pl.DataFrame, look: Look, *, beta: float) -> Figure:
    """Three panels, one above the other.

    Top: each proxy's error variance (gold's is 1) against its labels. Middle: regularised gap against that error,
    a colour a β, with error/(2β) dashed; what is not reliable is hollow. Bottom: gap of the mean ensemble at one β
    against its size, a colour for what its members share; dashed: predicted from their error variance and
    correlation, dotted: the floor that correlation leaves.

    Args:
        proxies: `limits/proxies.parquet`. ensembles: `limits/proxy_ensembles.parquet`.
        beta: one of the ensembles' temperatures.
    """
    betas = sorted(proxies["beta"].unique(), reverse=True)
    of_beta = Look(palette=look.palette, gold="", names=tuple(f"{b:g}" for b in betas))
    of_shared = Look(palette=look.palette, gold="", names=SHARED)
    with look.applied():
        figure = look.figure(height=1.75 * look.width)
        top, middle, bottom = figure.subplots(3, 1, height_ratios=[1, 1.25, 1.25])
        _errors(top, proxies.filter(pl.col("beta") == betas[0]))
        _gaps(middle, proxies, of_beta)
        _sizes(bottom, ensembles.filter((pl.col("beta") == beta) & (pl.col("aggregator") == "mean")), look, of_shared)
        bottom.set_ylabel(f"cost at β = {beta:g}\n(base-model s.d.)")
    return figure


def _errors(ax: Any, rows: pl.DataFrame) -> None:
    ax.plot(rows["labels"], rows["error_variance"], "o", ms=2, mew=0, color=GREY, alpha=0.6).pop().set_gid("errors")
    middle = rows.group_by("labels").agg(pl.col("error_variance").median()).sort("labels")
    ax.plot(middle["labels"], middle["error_variance"], color=INK, lw=1.2)
    ax.set_xscale("log")
    ticks = middle["labels"].to_list()
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("number of gold labels that a proxy was trained on")
    ax.set_ylabel("error variance\n(gold's variance = 1)")
    ax.set_ylim(bottom=0)


def _gaps(ax: Any, rows: pl.DataFrame, look: Look) -> None:
    most = float(rows["error_variance"].max())  # type: ignore[arg-type]
    for name in look.names:
        own = rows.filter(pl.col("beta") == float(name))
        colour = look.colour(name)
        for trusted, face in ((True, colour), (False, "none")):
            some = own.filter(pl.col("reliable") == trusted)
            ax.plot(some["error_variance"], some["gap"], "o", ms=2.2, mew=0.5, mec=colour, mfc=face, alpha=0.7)
        ax.plot([0, most], [0, most / (2 * float(name))], color=colour, lw=0.8, ls=DASHED)
        ax.plot([], [], "o", ms=2.6, mew=0, color=colour, label=f"β = {name}")
    ax.plot([], [], color=GREY, lw=0.8, ls=DASHED, label="error / (2β)")
    ax.set_ylim(0, 1.25 * float(rows["gap"].max()))  # type: ignore[arg-type]
    ax.set_xlim(left=0)
    ax.set_xlabel("error variance of a proxy (gold's variance = 1)")
    ax.set_ylabel("cost in gain − β·KL\n(base-model s.d.)")
    ax.legend(ncols=2, loc="upper left")


def _sizes(ax: Any, rows: pl.DataFrame, style: Look, look: Look) -> None:
    handles = []
    for name in look.names:
        own = rows.filter(pl.col("shared") == name).sort("k")
        if not own.height:
            continue
        colour, k = look.colour(name), own["k"]
        ax.fill_between(k, own["gap_low"], own["gap_high"], color=colour, alpha=0.15, lw=0)
        ax.plot(k, own["gap"], "-", lw=1.0, color=colour)[0].set_gid(f"gap:{name}")
        for trusted, face in ((True, colour), (False, "white")):
            some = own.filter(pl.col("reliable") == trusted)
            ax.plot(some["k"], some["gap"], "o", ms=2.6, mew=0.7, mec=colour, mfc=face)
        ax.plot(k, own["gap_predicted"], lw=0.9, ls=DASHED, color=colour)
        ax.axhline(own["gap_floor"][0], lw=0.8, ls=":", color=colour)
        label = f"members share {name}, ρ = {own['rho'][0]:.2f}"
        handles.append(Line2D([], [], color=colour, marker="o", ms=2.6, lw=1.0, label=label))
    handles.append(Line2D([], [], color=GREY, lw=0.9, ls=DASHED, label="prediction"))
    handles.append(Line2D([], [], color=GREY, lw=0.8, ls=":", label="floor of the prediction"))
    ax.set_xscale("log", base=2)
    sizes = sorted(rows["k"].unique())
    ax.set_xticks(sizes, [str(k) for k in sizes])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("number of proxies in the ensemble")
    place(ax, handles, style, "", 2)

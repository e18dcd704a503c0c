"""Learning from preferences: rates, floors, departures from the model, γ; one look for each objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from alignment_limits.preferences.objectives import first_setting
from alignment_limits.report.figures.style import GREY, INK, SHADE, Look, place
from alignment_limits.study.objectives import OBJECTIVES, in_order, named, those

LEARNED = those("marker")  # in the order of keys
MARKERS = {name: OBJECTIVES[name].marker for name in LEARNED}


def colour(objective: str, look: Look) -> Any:
    return GREY if objective == "base" else Look(palette=look.palette, gold="", names=tuple(LEARNED)).colour(objective)


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
    width = (1 - LEARNED.index(objective) / len(LEARNED)) ** 2
    own = {"marker": MARKERS[objective], "ms": 2.0 + 4.0 * width, "mew": 0} if bars else {}
    (drawn,) = ax.plot(at, value, color=shade, ls=style, lw=0.6 + (2.6 if bars else 1.0) * width, **own)
    drawn.set_gid(objective)


def handles(objectives: Sequence[str], look: Look) -> list[Line2D]:
    return [
        Line2D([], [], color=colour(o, look), marker=MARKERS[o], ms=3, mew=0, lw=1.0, label=named(o))
        for o in in_order(objectives)
    ]


_KLS = {"forward_kl": "KL(target‖policy)", "reverse_kl": "KL(policy‖target)"}


def learning_rates(summary: pl.DataFrame, look: Look, objectives: Sequence[str]) -> Figure:
    """Left: without regularisation. Right: coefficients for each n, by the oracle (solid) or held-out pairs (dotted).

    Above forward, below reverse KL in nats, means over seeds with 95% intervals. Black, left: the first-order
    prediction c/n; grey: the base. Shaded: some seed's data determine no policy.

    Args:
        summary: `learning/summary.parquet`; its first setting at its first level is drawn.
    """
    setting, level = first_setting(summary)
    rows = summary.filter((pl.col("setting") == setting) & (pl.col("level") == level) & (pl.col("n") > 0))
    with look.applied():
        figure = look.figure(height=0.85 * look.width + 0.5)
        axes = figure.subplots(2, 2, sharex=True, sharey="row")
        for above, (quantity, label) in zip(axes, _KLS.items(), strict=True):
            of = rows.filter(pl.col("quantity") == quantity)
            for ax in above:
                ax.set(xscale="log", yscale="log")
                base = of.filter(pl.col("objective") == "base").sort("n")
                ax.plot(base["n"], base["value"], color=GREY, lw=0.8, ls="--", gid="base")
            _free(above[0], of.filter(pl.col("tuning") == "none"), look, objectives)
            _chosen(above[1], of, look, objectives)
            above[0].set_ylabel(f"{label}\n(nats)")
        predicted = rows.filter((pl.col("quantity") == "predicted") & pl.col("value").is_finite())
        predicted = predicted.group_by("n").agg(pl.col("value").first()).sort("n")
        for above in axes:
            above[0].plot(predicted["n"], predicted["value"], color=INK, lw=0.8, ls=":", gid="predicted")
        _limits(axes, rows, objectives)
        place(
            axes[0, 0],
            [Line2D([], [], color=INK, lw=0.8, ls=":", label="predicted rate c/n")],
            look,
            "no regularisation",
            1,
        )
        place(axes[0, 1], handles(objectives, look), look, "β chosen for each n", 2)
        figure.supxlabel("number of preference pairs n", fontsize=look.font_size)
    return figure


def _free(ax: Any, rows: pl.DataFrame, look: Look, objectives: Sequence[str]) -> None:
    styles = {"pmle": "-", "distillation": (0, (4, 2)), "reverse-kl": (0, (1, 1.5))}
    for objective in in_order(objectives):
        own = rows.filter(pl.col("objective") == objective)
        if own.height:
            line(ax, own, "n", objective, look, style=styles.get(objective, "-"))
    lost = rows.filter((pl.col("finite") < 1) & (pl.col("objective") != "base"))["n"]
    if lost.len():
        ax.axvspan(rows["n"].min(), lost.max(), color=SHADE, lw=0, zorder=0, gid="undetermined")


def _chosen(ax: Any, rows: pl.DataFrame, look: Look, objectives: Sequence[str]) -> None:
    for objective in in_order(objectives):
        own = rows.filter(pl.col("objective") == objective)
        line(ax, own.filter(pl.col("tuning") == "held-out"), "n", objective, look, style=":", bars=False)
        line(ax, own.filter(pl.col("tuning") == "oracle"), "n", objective, look)


def _limits(axes: Any, rows: pl.DataFrame, objectives: Sequence[str]) -> None:
    """The same range for both rows: from a third of the least mean to what the unregularised policies reach."""
    seen = rows.filter(
        pl.col("quantity").is_in(list(_KLS))
        & (pl.col("tuning") != "fixed")
        & pl.col("objective").is_in([*objectives, "base"])
        & pl.col("value").is_finite()
        & (pl.col("value") > 0)
    )["value"]
    if seen.len():
        for ax in axes.ravel():
            ax.set_ylim(0.5 * float(seen.min()), 3 * float(seen.max()))  # type: ignore[arg-type]


def learning_floors(summary: pl.DataFrame, slopes: pl.DataFrame, look: Look, objectives: Sequence[str]) -> Figure:
    """Forward KL (nats) against n, a panel for each fixed coefficient; dotted, the population minimiser's own.

    Args:
        summary: `learning/summary.parquet`.
        slopes: `learning/slopes.parquet`.
    """
    setting, level = first_setting(summary)
    here = (pl.col("setting") == setting) & (pl.col("level") == level)
    rows = summary.filter(here & (pl.col("n") > 0) & (pl.col("quantity") == "forward_kl"))
    floors = slopes.filter(here & (pl.col("quantity") == "floor"))
    betas = floors["beta"].unique().sort().to_list()
    with look.applied():
        figure = look.figure(height=0.5 * look.width + 0.5)
        axes = figure.subplots(1, max(len(betas), 1), sharey=True, squeeze=False)[0]
        base = rows.filter(pl.col("objective") == "base").sort("n")
        for ax, beta in zip(axes, betas, strict=False):
            ax.set(xscale="log", yscale="log")
            ax.plot(base["n"], base["value"], color=GREY, lw=0.8, ls="--", gid="base")
            fixed = rows.filter((pl.col("tuning") == "fixed") & (pl.col("beta") == beta))
            for objective in in_order(objectives):
                line(ax, fixed.filter(pl.col("objective") == objective), "n", objective, look)
                for exact in floors.filter((pl.col("objective") == objective) & (pl.col("beta") == beta))["exact"]:
                    ax.axhline(exact, color=colour(objective, look), lw=0.8, ls=":", gid=f"floor {objective}")
            ax.text(0.97, 0.97, f"β = {beta:g}", transform=ax.transAxes, ha="right", va="top", fontsize=look.small)
        least = floors["exact"].min() if floors.height else None
        if least is not None:
            axes[0].set_ylim(0.5 * float(least), 300 * float(base["value"].max()))  # type: ignore[arg-type]
        axes[0].set_ylabel("KL(target‖policy) (nats)")
        place(axes[0], handles(objectives, look), look, "dotted: population minimiser", 2)
        figure.supxlabel("number of preference pairs n", fontsize=look.font_size)
    return figure


LEVELS = {
    "label-noise": "share of labels flipped",
    "ties-flipped": "ties ν, decided by a coin",
    "ties-dropped": "ties ν, dropped",
    "context-effects": "context effects (s.d. of logits)",
    "annotator-bias": "biases of annotators (s.d.)",
    "gamma-error": "assumed γ / true γ",
    "tempered-pairs": "temperature of the pairs' sampler",
    "best-of-n-pairs": "n of best-of-n that gives the pairs",
    "reward-dimension": "dimension of the reward class",
}


def learning_settings(summary: pl.DataFrame, look: Look, objectives: Sequence[str]) -> Figure:
    """Forward KL (nats) against the level of every setting, at the largest n, with coefficients from held-out pairs.

    Dotted: with those of the oracle.

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
        key = [*handles(objectives, look), Line2D([], [], color=GREY, lw=0.8, ls="--", label="base model")]
        place(axes[0, 0], key, look, "β from held-out pairs (dotted: oracle)", 4 if look.width > 6 else 2)
    return figure


def _scale(ax: Any, levels: Sequence[float]) -> None:
    """Logarithmic where levels are positive and span a factor of eight, with the levels themselves as ticks."""
    if levels[0] > 0 and levels[-1] >= 8 * levels[0]:
        ax.set_xscale("log")
        ax.set_xticks(levels, [f"{level:g}" for level in levels])
        ax.xaxis.set_minor_locator(NullLocator())


def gamma_estimates(table: pl.DataFrame, look: Look, *, truth: float) -> Figure:
    """Left: medians over seeds of estimate and 95% interval. Right: share of the intervals that contain the true γ.

    One colour for each dimension of the reward class that was fitted together with γ; where γ is not identified,
    nothing is drawn.

    Args:
        table: `learning/gamma.parquet`.
    """
    dimensions = table["dimension"].unique().sort().to_list()
    palette = Look(palette=look.palette, gold="", names=tuple(map(str, dimensions)))
    with look.applied():
        figure = look.figure(height=0.4 * look.width + 0.5)
        left, right = figure.subplots(1, 2)
        drawn = []
        for i, dimension in enumerate(dimensions):
            rows = table.filter((pl.col("dimension") == dimension) & pl.col("identified"))
            if not rows.height:
                continue
            holds = ((pl.col("low") <= truth) & (pl.col("high") >= truth)).mean()
            by_n = rows.group_by("n").agg(pl.col("gamma", "low", "high").median(), holds=holds).sort("n")
            shift = 1.04 ** (i - len(dimensions) / 2)
            colour = palette.colour(str(dimension))
            middle = by_n["gamma"].to_numpy()
            bars = np.abs(by_n.select("low", "high").to_numpy().T - middle)
            (line, *_) = left.errorbar(
                by_n["n"].to_numpy() * shift, middle, bars, color=colour, marker="o", ms=2.6, lw=0.9, elinewidth=0.7
            )
            line.set_label(f"{dimension} feature{'s' if dimension > 1 else ''}")
            drawn.append(line)
            right.plot(by_n["n"], by_n["holds"], "o-", color=colour, ms=2.6, lw=0.9)
        left.axhline(truth, color=GREY, lw=0.8, ls=":")
        right.axhline(0.95, color=GREY, lw=0.8, ls=":")
        for ax in (left, right):
            ax.set_xscale("log")
        left.set_ylim(truth - 1.5 * abs(truth), truth + 1.5 * abs(truth))
        left.set_ylabel("estimated γ")
        right.set_ylabel("share of intervals\nthat contain γ")
        place(left, drawn, look, "number of reward features", 2)
        figure.supxlabel("number of preference pairs n", fontsize=look.font_size)
    return figure

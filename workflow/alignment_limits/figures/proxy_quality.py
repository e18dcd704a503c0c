"""A dial of proxy quality: error against labels, cost against error, cost against the size of an ensemble."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from alignment_limits.figures.keys import place
from alignment_limits.figures.style import DASHED, GREY, INK, Look

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
        bottom.set_ylabel(f"gap at β = {beta:g}\n(base s.d.)")
    return figure


def _errors(ax: Any, rows: pl.DataFrame) -> None:
    ax.plot(rows["labels"], rows["error_variance"], "o", ms=2, mew=0, color=GREY, alpha=0.6).pop().set_gid("errors")
    middle = rows.group_by("labels").agg(pl.col("error_variance").median()).sort("labels")
    ax.plot(middle["labels"], middle["error_variance"], color=INK, lw=1.2)
    ax.set_xscale("log")
    ticks = middle["labels"].to_list()
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("gold labels of a proxy")
    ax.set_ylabel("error variance\n(of gold's)")
    ax.set_ylim(bottom=0)


def _gaps(ax: Any, rows: pl.DataFrame, look: Look) -> None:
    most = float(rows["error_variance"].max())  # type: ignore[arg-type]
    for name in look.names:
        own = rows.filter(pl.col("beta") == float(name))
        colour = look.colour(name)
        for told, face in ((True, colour), (False, "none")):
            some = own.filter(pl.col("reliable") == told)
            ax.plot(some["error_variance"], some["gap"], "o", ms=2.2, mew=0.5, mec=colour, mfc=face, alpha=0.7)
        ax.plot([0, most], [0, most / (2 * float(name))], color=colour, lw=0.8, ls=DASHED)
        ax.plot([], [], "o", ms=2.6, mew=0, color=colour, label=f"β = {name}")
    ax.plot([], [], color=GREY, lw=0.8, ls=DASHED, label="error / (2β)")
    ax.set_ylim(0, 1.25 * float(rows["gap"].max()))  # type: ignore[arg-type]
    ax.set_xlim(left=0)
    ax.set_xlabel("error variance (of gold's)")
    ax.set_ylabel("regularised gap\n(base s.d.)")
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
        for told, face in ((True, colour), (False, "white")):
            some = own.filter(pl.col("reliable") == told)
            ax.plot(some["k"], some["gap"], "o", ms=2.6, mew=0.7, mec=colour, mfc=face)
        ax.plot(k, own["gap_predicted"], lw=0.9, ls=DASHED, color=colour)
        ax.axhline(own["gap_floor"][0], lw=0.8, ls=":", color=colour)
        label = f"share {name}, ρ = {own['rho'][0]:.2f}"
        handles.append(Line2D([], [], color=colour, marker="o", ms=2.6, lw=1.0, label=label))
    handles.append(Line2D([], [], color=GREY, lw=0.9, ls=DASHED, label="predicted"))
    handles.append(Line2D([], [], color=GREY, lw=0.8, ls=":", label="predicted floor"))
    ax.set_xscale("log", base=2)
    sizes = sorted(rows["k"].unique())
    ax.set_xticks(sizes, [str(k) for k in sizes])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("proxies in the ensemble, K")
    place(ax, handles, style, "", 2)

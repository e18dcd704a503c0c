"""Over-optimisation: gold as another reward is optimised ever harder, Gao's fit to it, and where it peaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.figures.forest import forest, forest_height
from alignment_limits.figures.keys import WIDE, columns, height, key, place
from alignment_limits.figures.layout import LINE
from alignment_limits.figures.style import DASHED, GREY, INK, Look, order
from alignment_limits.limits.bounds import GaoFit
from alignment_limits.verdicts import verdict

PATHS = {"tilt": "tilted to a KL budget by", "best-of-n": "best-of-n by the same"}


def over_optimisation(
    fits: pl.DataFrame,
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    look: Look,
    *,
    proxies: Sequence[str] = (),
    ensembles: Sequence[str] = (),
) -> Figure:
    """Gain in gold (base standard deviations) against KL (nats) along both paths, and a row of numbers for each name.

    Dots with 95% bars: reliable estimates. Lines: Gao's fits over the KLs they were made on; dashed and thin where
    they are not reliable. A triangle is a peak of gold that was found, with its interval.

    Args:
        fits: `limits/over_optimisation.parquet`.
        frontier, best_of_n: `limits/frontier.parquet`, `limits/best_of_n.parquet`.
    """
    names = [*proxies, *ensembles]
    points = {"tilt": _tilted(frontier, look.gold), "best-of-n": _chosen(best_of_n, look.gold)}
    last = points["best-of-n"].sort("kl").group_by("optimized").agg(pl.col("gain").last())
    ranked = order(names, dict(last.iter_rows()))
    beside = look.width >= WIDE
    with look.applied():
        wide = columns(ranked, look, 72 * look.width / (2 if beside else 1) - 6 * look.font_size)
        keys = height(ranked, look, wide) + (0 if beside else 2 * LINE * look.small / 72)
        above = (0.36 if beside else 2 * 0.44) * look.width + keys + 0.75
        below = forest_height(ranked, look)
        figure = look.figure(height=above + below)
        halves: Any = figure.subfigures(2, 1, height_ratios=[above, below])
        upper, lower = halves
        axes = upper.subplots(*((1, 2) if beside else (2, 1)), sharey=True)
        for ax, (path, title) in zip(axes, PATHS.items(), strict=True):
            rows = fits.filter(pl.col("path") == path)
            ax.axhline(0, color=GREY, lw=0.5, zorder=1)
            for name in ranked:
                colour, style = look.colour(name), look.stroke(name, ensemble=name in ensembles)
                own = points[path].filter(pl.col("optimized") == name)
                _points(ax, own, colour, name, look.mark(name))
                for fit in rows.filter(pl.col("optimized") == name).iter_rows(named=True):
                    _fit(ax, fit, colour, style)
                    _peak(ax, fit, own, colour)
            if path == "tilt":
                key(ax, ranked, look, ensembles, title, wide)
            else:
                place(ax, _symbols(), look, title, 3)
            ends = [*points[path]["kl"], *rows.filter(pl.col("fit_to").is_finite())["fit_to"]]
            ax.set_xlim(0, 1.05 * max([0.5, *ends]))
        upper.supylabel("gain in gold (base s.d.)", fontsize=look.font_size)
        upper.supxlabel("KL from the base model (nats per sequence)", fontsize=look.font_size)
        forest(lower, fits, ranked, look)
    return figure


def _tilted(frontier: pl.DataFrame, gold: str) -> pl.DataFrame:
    """Reliable gold at fixed KL."""
    return frontier.filter(
        (pl.col("at") == "kl")
        & (pl.col("budget") == "average")
        & (pl.col("evaluated") == gold)
        & verdict(frontier, "gain")
    ).sort("kl")


def _chosen(best_of_n: pl.DataFrame, gold: str) -> pl.DataFrame:
    """Gold of best-of-n at the KL it spends."""
    return best_of_n.filter(
        (pl.col("evaluated") == gold)
        & (pl.col("method") == "best-of-n")
        & (pl.col("budget") == "average")
        & (pl.col("n") > 1)
        & pl.col("gain").is_finite()
    ).sort("n")


def _symbols() -> list[Line2D]:
    dot = Line2D([], [], color=GREY, marker="o", ms=2.4, mew=0, ls="none", label="estimate")
    fit = Line2D([], [], color=GREY, lw=1.1, label="fit of Gao et al.")
    peak = Line2D([], [], color="white", marker="v", ms=5, mec=INK, mew=0.6, ls="none", label="peak")
    return [dot, fit, peak]


def _points(ax: Any, rows: pl.DataFrame, colour: Any, name: str, marker: str) -> None:
    """Dots with their bars; hollow where not reliable."""
    x, y, low, high = (rows[c].to_numpy() for c in ("kl", "gain", "gain_low", "gain_high"))
    ax.vlines(x, low, high, color=colour, lw=0.7, alpha=0.5, zorder=2)
    look = {"marker": marker, "ms": 2.4, "mew": 0.5, "mec": colour, "ls": "none", "color": colour}
    ax.plot(x, y, zorder=3, **look)[0].set_gid(name)
    doubtful = ~rows.select(verdict(rows, "gain")).to_series().to_numpy()
    ax.plot(x[doubtful], y[doubtful], zorder=3.1, **(look | {"mfc": "white"}))[0].set_gid(f"{name}:unreliable")


def _fit(ax: Any, fit: dict[str, Any], colour: Any, style: Any) -> None:
    """The fitted curve over its own range of KL, nothing beyond."""
    if not np.isfinite(fit["alpha"]):
        return
    curve = GaoFit(**{name: fit[name] for name in GaoFit.__dataclass_fields__}).curve
    x = np.linspace(np.sqrt(fit["fit_from"]), np.sqrt(fit["fit_to"]), 60) ** 2
    trusted = fit["fit_reliable"]
    (line,) = ax.plot(x, curve(x), color=colour, ls=style if trusted else DASHED, lw=1.1 if trusted else 0.7, zorder=4)
    line.set_gid(f"fit:{fit['optimized']}")


def _peak(ax: Any, fit: dict[str, Any], points: pl.DataFrame, colour: Any) -> None:
    """The peak with its interval: a KL along the tilt; of best-of-n the KL of its n, read between the tabulated n."""
    if not (fit["found"] and fit["drop_low"] > 0) or points.height < 2:
        return
    place_of = np.array([fit["peak_low"], fit["peak"], fit["peak_high"]])
    if fit["unit"] == "draws":
        place_of = np.interp(np.log(place_of), np.log(points["n"].to_numpy()), points["kl"].to_numpy())
    ax.hlines(fit["gain"], place_of[0], place_of[2], color=INK, lw=0.8, zorder=5)
    (mark,) = ax.plot([place_of[1]], [fit["gain"]], marker="v", ms=5, color=colour, mec=INK, mew=0.6, zorder=6)
    mark.set_gid(f"peak:{fit['optimized']}")

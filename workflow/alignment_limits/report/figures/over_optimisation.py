"""Over-optimisation: gold as another reward is optimised ever harder, Gao's fit to it, and where it peaks.

On the right a row for each reward: where gold peaks along both paths, or "no peak", and the coefficients of the fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.limits.over_optimisation import GaoFit
from alignment_limits.report.figures.style import (
    DASHED,
    GREY,
    INK,
    LINE,
    WIDE,
    Look,
    columns,
    height,
    key,
    order,
    place,
    text_width,
)
from alignment_limits.report.numbers import verdict

ROW = 0.17  # inches
_NO_PEAK = "no peak to {end}"
MARKS = {"tilt": ("o", -0.16), "best-of-n": ("s", 0.16)}  # path -> marker, shift within the row
PEAKS = {"tilt": "peak, tilt\n(nats)", "best-of-n": "peak, best-\nof-n (draws)"}
COEFFICIENTS = {"alpha": "fit's α\n(s.d.)", "beta": "fit's β\n(s.d.)"}


def forest_height(names: Sequence[str], look: Look) -> float:
    """Inches for the rows of these names."""
    row = ROW + (_above(names, look) and LINE * look.small / 72)
    return row * max(len(names), 1) + 5.5 * look.font_size / 72 + 0.2


def _above(names: Sequence[str], look: Look) -> bool:
    """Whether names stand above their rows, as beside them they would leave the columns too little room."""
    columns = 4 * (text_width(_NO_PEAK.format(end="1.3"), look.small) + 2 * look.small)
    return max((text_width(n, look.small) for n in names), default=0.0) > 72 * look.width - columns


def forest(figure: Any, fits: pl.DataFrame, names: Sequence[str], look: Look) -> None:
    """Draw the rows into a (sub)figure: four columns that share them.

    Args:
        fits: `limits/over_optimisation.parquet`.
        names: rewards from top to bottom.
    """
    axes = figure.subplots(1, 4, sharey=True, gridspec_kw={"wspace": 0.12})
    above = _above(names, look)
    rows = {(r["optimized"], r["path"]): r for r in fits.iter_rows(named=True)}
    for y, name in enumerate(names):
        for ax, path in zip(axes[:2], PEAKS, strict=True):
            if (name, path) in rows:
                _peak_or_none(ax, rows[name, path], y, look)
        for ax, letter in zip(axes[2:], COEFFICIENTS, strict=True):
            for path, (marker, shift) in MARKS.items():
                if (name, path) in rows:
                    _coefficient(ax, rows[name, path], letter, y + shift, marker, look)
    for ax, title in zip(axes, [*PEAKS.values(), *COEFFICIENTS.values()], strict=True):
        ax.set_xlabel(title, fontsize=look.small)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.patch.set_visible(False)  # names of the first column reach over the others
        ax.locator_params(axis="x", nbins=3)
        for y in range(len(names)):
            ax.axhline(y, color=GREY, lw=0.3, alpha=0.4, zorder=0)
    axes[0].set_yticks(range(len(names)), ["" if above else n.replace("$", r"\$") for n in names])
    # of a row with its name above, the name has the upper part
    part = LINE * look.small / 72 / (ROW + LINE * look.small / 72) if above else 0.0
    axes[0].set_ylim(max(len(names), 1) - 0.4 - 0.5 * part, -0.6 - 0.5 * part)
    for y, name in enumerate(names if above else []):
        text = _shortened(name, look).replace("$", r"\$")
        axes[0].annotate(
            text, (0, y - 0.5 * (1 - part) - 0.1), xycoords=axes[0].get_yaxis_transform(), va="bottom",
            fontsize=look.small, annotation_clip=False, in_layout=False,
        )  # fmt: skip
    ends = fits.group_by("path").agg(pl.col("end").max())
    for ax, path in zip(axes[:2], PEAKS, strict=True):
        right = max([1.0, *ends.filter((pl.col("path") == path) & pl.col("end").is_finite())["end"].to_list()])
        if path == "best-of-n":
            ax.set_xscale("log", base=2)
            ax.set_xlim(1, max(right, 2))
            ax.set_xticks(_powers(right), [str(n) for n in _powers(right)])
        else:
            ax.set_xlim(0, right)
    for ax in axes[2:]:
        ax.xaxis.set_major_formatter(
            lambda value, _: f"{value:g}".replace("-", "−")
        )  # 0, not 0.00: there is little room
    axes[3].axvline(0, color=INK, lw=0.5, zorder=1)
    figure.legend(handles=_forest_symbols(), loc="outside upper right", ncols=3, handletextpad=0.1, borderaxespad=0.0)


def _shortened(name: str, look: Look) -> str:
    """A name that fits into the figure's width, without its middle where it is longer."""
    shown, cut = name, 0
    while text_width(shown, look.small) > 0.9 * 72 * look.width and len(name) - cut > 4:
        cut += 1
        half = (len(name) - cut) // 2
        shown = f"{name[:half]}…{name[-half:]}"
    return shown


def _forest_symbols() -> list[Line2D]:
    return [
        Line2D([], [], color=face, marker=marker, ms=2.8, mec=GREY, mew=0.7, ls="none", label=text)
        for face, marker, text in (
            (GREY, MARKS["tilt"][0], "tilt"),
            (GREY, MARKS["best-of-n"][0], "best-of-n"),
            ("white", MARKS["tilt"][0], "not reliable"),
        )
    ]


def _powers(most: float) -> list[int]:
    """1, the largest power of two up to `most`, and the one between."""
    top = max(int(np.log2(most)), 1)
    return sorted({1, 2 ** (top // 2), 2**top})


def _peak_or_none(ax: Any, row: dict[str, Any], y: int, look: Look) -> None:
    """A triangle with its interval, "no peak" and how far was looked, or "falls" where gold does at an unknown KL.

    A peak is one only where the fall after it is significant.
    """
    if row["found"] and row["drop_low"] > 0:
        ax.hlines(y, row["peak_low"], row["peak_high"], color=INK, lw=0.8, zorder=2)
        colour = look.colour(row["optimized"])
        (mark,) = ax.plot([row["peak"]], [y], marker="v", ms=4.5, color=colour, mec=INK, mew=0.6, zorder=3)
        mark.set_gid(f"where:{row['path']}:{row['optimized']}")
        return
    falls = "falls" if row["drop_low"] > 0 else _NO_PEAK.format(end=f"{row['end']:.2g}")
    text = falls if np.isfinite(row["end"]) else "unknown"
    transform = ax.get_yaxis_transform()
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    ax.text(0.5, y, text, transform=transform, ha="center", va="center", fontsize=look.small, color=GREY, bbox=box)


def _coefficient(ax: Any, row: dict[str, Any], letter: str, y: float, marker: str, look: Look) -> None:
    """One coefficient with its interval; hollow where the fit is not reliable."""
    if not np.isfinite(row[letter]):
        return
    colour = look.colour(row["optimized"])
    ax.hlines(y, row[f"{letter}_low"], row[f"{letter}_high"], color=colour, lw=0.8, zorder=2)
    face = colour if row["fit_reliable"] else "white"
    (mark,) = ax.plot([row[letter]], [y], marker=marker, ms=2.8, color=face, mec=colour, mew=0.7, zorder=3)
    mark.set_gid(f"{letter}:{row['path']}:{row['optimized']}")


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

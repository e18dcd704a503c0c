"""Over-optimisation: gold as another reward is optimised more strongly, Gao's fit to it, and where it peaks.

A figure for each method, the tilt and best-of-n. Below its curves is a row for each reward: where gold peaks, or how
far no peak was found, and the coefficients of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from alignment_limits.limits.onset import OPPOSED
from alignment_limits.limits.over_optimisation import GaoFit
from alignment_limits.report.figures.style import (
    DASHED,
    GAIN,
    GREY,
    INK,
    KL,
    LINE,
    Look,
    nothing_reliable,
    order,
    text_width,
)
from alignment_limits.report.numbers import from_samples, verdict

ROW = 0.17  # inches
COEFFICIENTS = {"alpha": "slope α\nof the fit", "beta": "bend β\nof the fit"}


@dataclass(frozen=True)
class Path:
    """A method by which a reward is optimised: its name in the tables, the axis of its peaks, their unit."""

    name: str
    peak: str
    unit: str


TILT = Path("tilt", "KL where gold peaks\n(nats)", "nats")
BEST_OF_N = Path("best-of-n", "n where gold peaks\n(draws)", "draws")


def tilted(
    fits: pl.DataFrame,
    frontier: pl.DataFrame,
    look: Look,
    *,
    proxies: Sequence[str] = (),
    ensembles: Sequence[str] = (),
) -> Figure:
    """Gain in gold (base standard deviations) against KL (nats) as the base model is tilted by each name.

    Dots with 95% bars: reliable estimates. Lines: Gao's fits over the KLs they were made on; dashed and thin where
    they are not reliable. A triangle is a peak of gold that was found, with its interval.

    Args:
        fits: `limits/over_optimisation.parquet`.
        frontier: `limits/frontier.parquet`.
    """
    frontier = from_samples(frontier, "base")
    at = frontier.filter((pl.col("at") == "kl") & (pl.col("budget") == "average") & (pl.col("evaluated") == look.gold))
    return _figure(fits, at.filter(verdict(at, "gain")).sort("kl"), at, TILT, look, proxies, ensembles)


def selected(
    fits: pl.DataFrame,
    best_of_n: pl.DataFrame,
    look: Look,
    *,
    proxies: Sequence[str] = (),
    ensembles: Sequence[str] = (),
) -> Figure:
    """As `tilted`, of best-of-n at the KL it spends; its estimates that are not reliable are hollow.

    Args:
        fits: `limits/over_optimisation.parquet`.
        best_of_n: `limits/best_of_n.parquet`.
    """
    rows = best_of_n.filter(
        (pl.col("evaluated") == look.gold)
        & (pl.col("method") == "best-of-n")
        & (pl.col("budget") == "average")
        & (pl.col("n") > 1)
        & pl.col("gain").is_finite()
    ).sort("n")
    return _figure(fits, rows, rows, BEST_OF_N, look, proxies, ensembles)


def _figure(
    fits: pl.DataFrame,
    points: pl.DataFrame,
    judged: pl.DataFrame,
    path: Path,
    look: Look,
    proxies: Sequence[str],
    ensembles: Sequence[str],
) -> Figure:
    """Curves above, rows below.

    Args:
        points: what is drawn.
        judged: rows with the reasons why estimates are not reliable.
    """
    names = [*proxies, *ensembles]
    fits = fits.filter((pl.col("path") == path.name) & pl.col("optimized").is_in(names))
    last = points.sort("kl").group_by("optimized").agg(pl.col("gain").last())
    ranked = order(names, dict(last.iter_rows()))
    with look.applied():
        above = min(0.5 * look.width, 2.6) + 0.45
        below = forest_height(ranked, look)
        figure = look.figure(height=above + below)
        halves: Any = figure.subfigures(2, 1, height_ratios=[above, below])
        upper, lower = halves
        ax = upper.subplots()
        ax.axhline(0, color=GREY, lw=0.5, zorder=1)
        for name in ranked:
            colour, style = look.colour(name), look.stroke(name, ensemble=name in ensembles)
            own = points.filter(pl.col("optimized") == name)
            _points(ax, own, colour, name, look.mark(name))
            for fit in fits.filter(pl.col("optimized") == name).iter_rows(named=True):
                _fit(ax, fit, colour, style)
                _peak(ax, fit, own, colour)
        ends = [*points["kl"], *fits.filter(pl.col("fit_to").is_finite())["fit_to"]]
        ax.set_xlim(0, 1.05 * max([0.5, *ends]))
        ax.set_ylabel(GAIN)
        ax.set_xlabel(KL)
        of_names = judged.filter(pl.col("optimized").is_in(names))
        if not of_names.select(verdict(of_names, "gain").any()).item():
            nothing_reliable(ax, of_names, "gain", look)
        if not points.filter(pl.col("optimized").is_in(names)).height:
            ax.set(xticks=[], yticks=[])
        forest(lower, fits, ranked, look, path, ensembles)
        lower.legend(handles=_symbols(), loc="outside upper right", ncols=4, handletextpad=0.4, columnspacing=1.0)
    return figure


_WIDTHS = (2.0, 1.0, 1.0)  # of the columns
_SAMPLE = 2.2  # length of a line sample and the gap after it, in units of the type size


def forest_height(names: Sequence[str], look: Look) -> float:
    """Inches for the rows of these names."""
    return (ROW + LINE * look.small / 72) * max(len(names), 1) + 5.5 * look.font_size / 72 + 0.1


def forest(
    figure: Any, fits: pl.DataFrame, names: Sequence[str], look: Look, path: Path, ensembles: Sequence[str] = ()
) -> None:
    """Draw the rows into a (sub)figure: three columns that share them. A row's name is above it, with its stroke.

    Args:
        fits: the path's rows of `limits/over_optimisation.parquet`.
        names: rewards from top to bottom.
        ensembles: those of them that are ensembles.
    """
    axes = figure.subplots(1, 3, sharey=True, width_ratios=_WIDTHS, gridspec_kw={"wspace": 0.12})
    rows = {r["optimized"]: r for r in fits.iter_rows(named=True)}
    for y, name in enumerate(names):
        if name in rows:
            _peak_or_none(axes[0], rows[name], y, look, path)
            for ax, letter in zip(axes[1:], COEFFICIENTS, strict=True):
                _coefficient(ax, rows[name], letter, y, look)
    for ax, title in zip(axes, [path.peak, *COEFFICIENTS.values()], strict=True):
        ax.set_xlabel(title, fontsize=look.small)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.patch.set_visible(False)  # names of the first column reach over the others
        ax.locator_params(axis="x", nbins=3 if ax is axes[0] else 2)
        for y in range(len(names)):
            ax.axhline(y, color=GREY, lw=0.3, alpha=0.4, zorder=0)
    axes[0].set_yticks([])
    part = LINE * look.small / 72 / (ROW + LINE * look.small / 72)  # of a row, for the name at its top
    axes[0].set_ylim(max(len(names), 1) - 0.4 - 0.5 * part, -0.6 - 0.5 * part)
    for y, name in enumerate(names):
        _named(axes[0], name, y - 0.5 * (1 - part) - 0.1, look, ensemble=name in ensembles)
    right = max([1.0, *fits.filter(pl.col("end").is_finite())["end"].to_list()])
    if path is BEST_OF_N:
        axes[0].set_xscale("log", base=2)
        axes[0].set_xlim(1, max(right, 2))
        axes[0].set_xticks(_powers(right), [str(n) for n in _powers(right)])
    else:
        axes[0].set_xlim(0, right)
    for ax in axes[1:]:
        # 0, not 0.00: there is little room
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes[2].axvline(0, color=INK, lw=0.5, zorder=1)


def _named(ax: Any, name: str, y: float, look: Look, *, ensemble: bool) -> None:
    """A row's name above it, after a sample of its line: the rows are the key of the curves."""
    at, size, inches = ax.get_yaxis_transform(), look.small, ax.figure.dpi_scale_trans
    from_left = inches + ScaledTranslation(0, 0, ax.transAxes)
    up = ax.transData + ScaledTranslation(0, 0.5 * size / 72, inches)
    (sample,) = ax.plot(
        [0, _SAMPLE * size / 72], [y, y], color=look.colour(name), ls=look.stroke(name, ensemble=ensemble), lw=1.3,
        marker=look.mark(name), ms=2.4, mew=0, markevery=[1], clip_on=False,
        transform=blended_transform_factory(from_left, up),
    )  # fmt: skip
    sample.set_gid(f"key:{name}")
    text = _shortened(name, look).replace("$", r"\$")
    ax.annotate(
        text, (0, y), xycoords=at, xytext=((_SAMPLE + 0.7) * size, 0), textcoords="offset points", va="bottom",
        fontsize=size, annotation_clip=False, in_layout=False,
    )  # fmt: skip


def _shortened(name: str, look: Look) -> str:
    """A name that fits into the figure's width, without its middle where it is longer."""
    shown, cut = name, 0
    while text_width(shown, look.small) > 0.9 * 72 * look.width and len(name) - cut > 4:
        cut += 1
        half = (len(name) - cut) // 2
        shown = f"{name[:half]}…{name[-half:]}"
    return shown


def _powers(most: float) -> list[int]:
    """1, the largest power of two up to `most`, and the one between."""
    top = max(int(np.log2(most)), 1)
    return sorted({1, 2 ** (top // 2), 2**top})


def _peak_or_none(ax: Any, row: dict[str, Any], y: int, look: Look, path: Path) -> None:
    """A triangle with its interval, or in words what was found instead.

    A peak is one only where the fall after it is significant.
    """
    if row["found"] and row["drop_low"] > 0:
        ax.hlines(y, row["peak_low"], row["peak_high"], color=INK, lw=0.8, zorder=2)
        colour = look.colour(row["optimized"])
        (mark,) = ax.plot([row["peak"]], [y], marker="v", ms=4.5, color=colour, mec=INK, mew=0.6, zorder=3)
        mark.set_gid(f"where:{row['optimized']}")
        return
    if not np.isfinite(row["end"]):
        text = "not reliable"
    elif row["drop_low"] > 0:
        text = "falls from the start" if row["finding"] == OPPOSED else "falls, place unknown"
    else:
        text = f"no peak up to {row['end']:.2g} {path.unit}"
    transform = ax.get_yaxis_transform()
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    ax.text(0.5, y, text, transform=transform, ha="center", va="center", fontsize=look.small, color=GREY, bbox=box)


def _coefficient(ax: Any, row: dict[str, Any], letter: str, y: float, look: Look) -> None:
    """One coefficient with its interval; hollow where the fit is not reliable."""
    if not np.isfinite(row[letter]):
        return
    colour = look.colour(row["optimized"])
    ax.hlines(y, row[f"{letter}_low"], row[f"{letter}_high"], color=colour, lw=0.8, zorder=2)
    face = colour if row["fit_reliable"] else "white"
    (mark,) = ax.plot([row[letter]], [y], marker="o", ms=2.8, color=face, mec=colour, mew=0.7, zorder=3)
    mark.set_gid(f"{letter}:{row['optimized']}")


def _symbols() -> list[Line2D]:
    dot = Line2D([], [], color=GREY, marker="o", ms=2.4, mew=0, ls="none", label="estimate")
    fit = Line2D([], [], color=GREY, lw=1.1, label="fit")
    doubtful = Line2D([], [], color=GREY, lw=0.7, ls=DASHED, marker="o", ms=2.8, mfc="white", mew=0.7)
    doubtful.set_label("not reliable")
    peak = Line2D([], [], color="white", marker="v", ms=5, mec=INK, mew=0.6, ls="none", label="peak of gold")
    return [dot, fit, doubtful, peak]


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

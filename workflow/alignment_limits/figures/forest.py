"""A row for each reward: where gold peaks along both paths, or "no peak", and the coefficients of Gao's fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.lines import Line2D

from alignment_limits.figures.layout import LINE, text_width
from alignment_limits.figures.style import GREY, INK, Look

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
                _peak(ax, rows[name, path], y, look)
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
    figure.legend(handles=_symbols(), loc="outside upper right", ncols=3, handletextpad=0.1, borderaxespad=0.0)


def _shortened(name: str, look: Look) -> str:
    """A name that fits into the figure's width, without its middle where it is longer."""
    shown, cut = name, 0
    while text_width(shown, look.small) > 0.9 * 72 * look.width and len(name) - cut > 4:
        cut += 1
        half = (len(name) - cut) // 2
        shown = f"{name[:half]}…{name[-half:]}"
    return shown


def _symbols() -> list[Line2D]:
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


def _peak(ax: Any, row: dict[str, Any], y: int, look: Look) -> None:
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

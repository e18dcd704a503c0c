"""Curves of gain against KL: which points join, which parts are reliable, what is drawn between them.

What no curve can do is not drawn (`limit_curve`, `ordered`).

Between tabulated budgets a curve is a monotone cubic (PCHIP) in √KL, in which a Gaussian reward's frontier is
a straight line; it starts at the origin and passes through every point. Nothing is drawn past the last one.
Names are written at the ends of lines, at the right of a panel, where there is room for them; elsewhere a key names
lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

from alignment_limits.report.figures.style import BOUNDS, DASHED, GREY, INK, LINE, Look, label, text_width
from alignment_limits.report.numbers import from_samples

_FINE = 12  # drawn steps between two tabulated budgets


@dataclass(frozen=True)
class Curve:
    """Gain (base standard deviations) against KL (nats), the origin first, in order of KL.

    A point that could not be reached has a NaN gain; `reliable` says where the estimate is to be believed.
    """

    kl: np.ndarray
    gain: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reliable: np.ndarray

    @property
    def reach(self) -> float:
        """The largest reliable KL (0 if there is none)."""
        return float(self.kl[self.reliable][-1])

    @property
    def doubtful(self) -> list[tuple[float, float]]:
        """Ranges of KL from one reliable point to the next (or to infinity) with unreliable ones inside."""
        edges = [*self.kl[self.reliable], np.inf]
        bad = self.kl[~self.reliable]
        return [(a, b) for a, b in itertools.pairwise(edges) if ((bad > a) & (bad < b)).any()]

    @property
    def end(self) -> float:
        """The last KL with a finite gain."""
        return float(self.kl[np.isfinite(self.gain)][-1])

    def drawn_as(self, gain: np.ndarray) -> Curve:
        """The curve with other gains; where these are NaN nothing is drawn, and nothing is reliable."""
        shown = np.isfinite(gain)
        low, high = (np.where(shown, end, np.nan) for end in (self.low, self.high))
        return replace(self, gain=gain, low=low, high=high, reliable=self.reliable & shown)

    def at(self, kl: float) -> float:
        """Gain at a KL, as drawn; NaN outside the finite part."""
        return float(self.values(np.array([kl]))[0])

    def values(self, kl: np.ndarray) -> np.ndarray:
        """Gains at many KLs, as drawn; NaN where nothing is drawn."""
        out = np.full(np.shape(kl), np.nan)
        for run in _runs(np.isfinite(self.gain)):
            inside = (kl >= self.kl[run[0]]) & (kl <= self.kl[run[-1]])
            if run.size > 1:
                out[inside] = PchipInterpolator(np.sqrt(self.kl[run]), self.gain[run])(np.sqrt(kl[inside]))
            else:
                out[inside] = self.gain[run]
        return out


def curve(
    frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str = "average", *, samples: str = "base"
) -> Curve:
    """The corrected curve at fixed KL of one pair (rows `at == "kl"`); only the origin if it is absent."""
    rows = (
        from_samples(frontier, samples)
        .filter(
            (pl.col("at") == "kl")
            & (pl.col("optimized") == optimized)
            & (pl.col("evaluated") == evaluated)
            & (pl.col("budget") == budget)
            & (pl.col("kl") > 0)
        )
        .sort("kl")
    )

    def column(name: str) -> np.ndarray:
        return np.concatenate([[0.0], rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()])

    gain = column("gain")
    trusted = np.concatenate([[True], rows["reliable"].fill_null(False).to_numpy().astype(bool)])
    return Curve(column("kl"), gain, column("gain_low"), column("gain_high"), trusted & np.isfinite(gain))


def furthest_curve(frontier: pl.DataFrame, reward: str, budget: str = "average") -> Curve:
    """The limit from base samples, and from samples of policies too where only these make it reliable, or go on."""
    base, pool = (curve(frontier, reward, reward, budget, samples=of) for of in ("base", "pool"))
    shared = len(base.kl)
    if len(pool.kl) < shared:
        return base
    further = np.ones(len(pool.kl), dtype=bool)
    further[:shared] = ~base.reliable & pool.reliable[:shared]

    def joined(name: str) -> np.ndarray:
        theirs = getattr(pool, name)
        return np.where(further, theirs, np.concatenate([getattr(base, name), theirs[shared:]]))

    return Curve(*(joined(name) for name in ("kl", "gain", "low", "high", "reliable")))


def limit_curve(
    frontier: pl.DataFrame, reward: str, budget: str = "average", above: Sequence[tuple[float, float]] = ()
) -> Curve:
    """The limit of a reward, which cannot fall as KL grows, nor lie below what some policy reaches.

    Args:
        above: (KL, gain) of policies that the limit must not be below, such as best-of-n.
    """
    return rising(curve(frontier, reward, reward, budget), above)


def rising(c: Curve, above: Sequence[tuple[float, float]] = ()) -> Curve:
    """The curve without its falls.

    A reliable point that falls within its interval is raised to the one before it; one that falls farther, and any
    point that is not reliable and out of order with those that are, has no gain: it is not drawn.
    """
    gain, top = c.gain.copy(), 0.0
    for i in np.flatnonzero(c.reliable):
        if gain[i] < top:
            gain[i] = top if not c.high[i] < top else np.nan
        top = np.fmax(top, gain[i])
    kept, top = c.reliable & np.isfinite(gain), 0.0
    for i in np.flatnonzero(np.isfinite(gain)):
        reached = max((g for kl, g in above if kl <= c.kl[i]), default=-np.inf)
        if not kept[i] and not max(top, reached) <= gain[i] <= np.min(gain[i:][kept[i:]], initial=np.inf):
            gain[i] = np.nan
        top = np.fmax(top, gain[i])
    return c.drawn_as(gain)


def ordered(upper: Curve, lower: Curve) -> tuple[Curve, Curve]:
    """Two curves at the same KLs of which one cannot pass the other, without the points where it does.

    Where their intervals meet the lower is drawn at the upper, unless the lower alone is reliable: then the upper is
    not drawn. Elsewhere the lower is not drawn, nor where it is not reliable and the upper has no value.
    """
    up, down = upper.gain.copy(), lower.gain.copy()
    at = {float(kl): i for i, kl in enumerate(upper.kl)}
    for j, kl in enumerate(lower.kl):
        i = at.get(float(kl))
        if i is None or down[j] <= up[i] or (np.isnan(up[i]) and lower.reliable[j]):
            continue
        if lower.reliable[j] and not upper.reliable[i]:
            up[i] = np.nan
        else:
            down[j] = up[i] if lower.low[j] <= upper.high[i] else np.nan
    return upper.drawn_as(up), lower.drawn_as(down)


def pieces(c: Curve, values: np.ndarray, reliable: bool) -> tuple[np.ndarray, np.ndarray]:
    """Fine x and y of the reliable (or of the other) part; NaN separates parts that do not touch.

    A stretch between two points belongs to the reliable part when both its ends are reliable.
    """
    xs, ys = [np.array([np.nan])], [np.array([np.nan])]
    for run in _runs(np.isfinite(values)):
        root = np.sqrt(c.kl[run])
        between = PchipInterpolator(root, values[run]) if run.size > 1 else None
        joined = -1
        for i in run[:-1]:
            if bool(c.reliable[i] and c.reliable[i + 1]) is not reliable or between is None:
                continue
            fine = np.linspace(np.sqrt(c.kl[i]), np.sqrt(c.kl[i + 1]), _FINE + 1)
            x, y = fine**2, between(fine)
            x[[0, -1]], y[[0, -1]] = c.kl[[i, i + 1]], values[[i, i + 1]]
            start = 1 if joined == i else 0
            xs += [x[1:]] if start else [np.array([np.nan]), x]
            ys += [y[1:]] if start else [np.array([np.nan]), y]
            joined = i + 1
    return np.concatenate(xs), np.concatenate(ys)


def _runs(ok: np.ndarray) -> list[np.ndarray]:
    """Indices of each unbroken stretch of true values."""
    index = np.flatnonzero(ok)
    return [r for r in np.split(index, np.flatnonzero(np.diff(index) > 1) + 1) if r.size]


def draw(
    ax: Any,
    c: Curve,
    *,
    colour: Any,
    name: str,
    width: float = 1.3,
    style: Any = "-",
    band: float = 0.18,
    zorder: float = 3,
    under: Curve | None = None,
) -> None:
    """Draw a curve: its reliable part in `style` with its 95% band, the rest thinner, paler and dashed.

    The two lines carry the gids `<name>` and `<name>:unreliable`. `band` is the band's opacity, 0 for none. Between
    its points, too, the line stays below another that it is `under`.
    """
    for reliable in (True, False):
        x, y = pieces(c, c.gain, reliable)
        if under is not None:
            y = np.where(np.isfinite(y), np.fmin(y, under.values(x)), np.nan)
        look = (
            {"linestyle": style, "linewidth": width}
            if reliable
            else {"linestyle": DASHED, "linewidth": 0.65 * width, "alpha": 0.6}
        )
        (line,) = ax.plot(x, y, color=colour, zorder=zorder, solid_capstyle="butt", **look)
        line.set_gid(name if reliable else f"{name}:unreliable")
        if band:
            bounded = np.isfinite(c.low) & np.isfinite(c.high)
            x, low = pieces(c, np.where(bounded, c.low, np.nan), reliable)
            _, high = pieces(c, np.where(bounded, c.high, np.nan), reliable)
            alpha = band if reliable else 0.4 * band
            ax.fill_between(x, low, high, color=colour, alpha=alpha, lw=0, zorder=zorder - 1)


def draw_bounds(ax: Any, rows: pl.DataFrame) -> str:
    """Draw a limit's bounds at the rows' KLs: a bar from the lower to the upper one, or only the lower one's end.

    Args:
        ax: a panel of gain against KL, with its final limits; bars that leave it are cut off.
        rows: with kl, at_least and at_most; tables of earlier versions have none.

    Returns:
        Its name in the key; empty if nothing was drawn.
    """
    if "at_least" not in rows.columns:
        return ""
    most = pl.col("at_most") if "at_most" in rows.columns else pl.lit(None, dtype=pl.Float64)
    rows = rows.with_columns(_most=most.fill_nan(None)).filter(pl.col("at_least") > 0).sort("kl")
    for row in rows.iter_rows(named=True):
        ends = [y for y in (row["at_least"], row["_most"]) if y is not None]
        (bar,) = ax.plot([row["kl"]] * len(ends), ends, **BOUNDS, clip_on=True)
        bar.set_gid(f"bounds:{row['kl']:g}")
    above = " and at most" if rows["_most"].count() else ""
    return f"limit, at least{above}" if rows.height else ""


def with_bounds(top: float, rows: pl.DataFrame) -> float:
    """The end of an axis of gains with room for bounds, which raise it by half at most."""
    ends = [rows[c].drop_nulls().drop_nans() for c in ("at_least", "at_most") if c in rows.columns]
    return min(max([top, *(float(each.max()) for each in ends if each.len())]), 1.5 * top)  # type: ignore[arg-type]


def unreliable_rows(frontier: pl.DataFrame, reward: str, c: Curve) -> pl.DataFrame:
    """The rows of a reward's own limit at those KLs of a curve (average budget) that are not reliable."""
    rows = from_samples(frontier, "base").filter(
        (pl.col("at") == "kl") & (pl.col("budget") == "average")
        & (pl.col("optimized") == reward) & (pl.col("evaluated") == reward)
    )  # fmt: skip
    return rows.filter(~pl.col("kl").is_in(c.kl[c.reliable].tolist()))


def quantity(table: pl.DataFrame, look: Look, *, x: tuple[str, str], y: tuple[str, str]) -> Figure:
    """A column against another, with its interval where the table has one; hollow where it is not reliable.

    Args:
        table: with the columns, and `<y>_low`, `<y>_high` and `reliable` where there are such.
        x, y: a column's name and its axis label.
    """
    rows = table.filter(pl.col(y[0]).is_finite()).sort(x[0])
    trusted = rows["reliable"] if "reliable" in rows.columns else pl.Series([True] * rows.height, dtype=pl.Boolean)
    with look.applied():
        figure = look.figure(height=0.6 * look.width)
        ax = figure.subplots()
        ax.plot(rows[x[0]], rows[y[0]], color=INK, lw=0.8)
        for part, fill in ((rows.filter(trusted), INK), (rows.filter(~trusted), "white")):
            ax.scatter(part[x[0]], part[y[0]], color=fill, edgecolor=INK, s=16, zorder=3)
        if f"{y[0]}_low" in rows.columns:
            ax.vlines(rows[x[0]], rows[f"{y[0]}_low"], rows[f"{y[0]}_high"], color=INK, lw=0.8)
        ax.set(xlabel=x[1], ylabel=y[1])
    return figure


MOST = 8  # names
SHARE = 0.34  # of the panel's width that names may take
GAP = 7.0  # points between the panel and the names
_NAME = 20  # characters of a line of a name


def names_fit(names: Sequence[str], look: Look, width: float, height: float) -> bool:
    """Whether names have room at the right of a panel.

    Args:
        width, height: of the panel with its names, in points.
    """
    texts = [label(name, _NAME) for name in names]
    wide = max((text_width(text, look.small) for text in texts), default=0.0) + GAP
    high = sum(1 + text.count("\n") for text in texts) * LINE * look.small
    return 0 < len(names) <= MOST and wide <= SHARE * width and high <= height


def draw_names(
    ax: Any, ends: Mapping[str, tuple[float, float]], look: Look, shown: Mapping[str, str] | None = None
) -> None:
    """Write each name next to the end of its line, in its colour; a thin line joins both where they are apart.

    Args:
        ax: the panel; its limits are final.
        ends: of the lines, in the panel's data.
        shown: other texts for names.
    """
    ax.figure.draw_without_rendering()  # the layout decides how high the panel is
    height = 72 * ax.get_window_extent().height / ax.figure.dpi
    low, high = ax.get_ylim()
    names = sorted((n for n in ends if np.isfinite(ends[n][1])), key=lambda n: -ends[n][1])
    texts = [label((shown or {}).get(name, name), _NAME) for name in names]
    sizes = np.array([(1 + text.count("\n")) * LINE * look.small / height for text in texts])
    wanted = np.array([1 - (ends[name][1] - low) / (high - low) for name in names])  # from the top
    for name, text, place in zip(names, texts, 1 - apart(wanted, sizes), strict=True):
        note = ax.annotate(
            text, ends[name], xycoords="data", xytext=(1, place), textcoords=ax.transAxes, va="center", ha="left",
            fontsize=look.small, color=look.colour(name), linespacing=1.0, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": 1, "relpos": (0, 0.5)},
        )  # fmt: skip
        note.set_transform(ax.transAxes)
        note.set_gid(f"end:{name}")


def apart(wanted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centres in [0, 1] as near as possible to those wanted, in order, so that boxes of these sizes do not overlap.

    Args:
        wanted: centres in ascending order.
        sizes: of the boxes; together at most 1.

    Example:
        >>> apart(np.array([0.5, 0.5]), np.array([0.2, 0.2])).round(2)
        array([0.4, 0.6])
    """
    if not len(wanted):
        return wanted
    offsets = np.cumsum(sizes) - sizes / 2  # of the centres in a stack
    groups: list[list[float]] = []  # sum and count of what is wanted of the start of each stack
    for start in wanted - offsets:
        groups.append([float(start), 1.0])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    starts = np.concatenate([[total / count] * int(count) for total, count in groups])
    return np.clip(starts, 0.0, max(1.0 - float(sizes.sum()), 0.0)) + offsets

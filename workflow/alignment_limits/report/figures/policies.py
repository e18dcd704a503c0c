"""Policies on the KL-reward plane with the limit and best-of-n, exact values next to estimates, and training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from alignment_limits.report.figures import curves
from alignment_limits.report.figures.curves import Curve, curve, draw, furthest_curve, pieces, rising
from alignment_limits.report.figures.style import (
    BEST_OF_N,
    BOUNDS,
    GAIN,
    GREY,
    INK,
    KL,
    LINE,
    POOLED,
    Look,
    colours,
    fold,
    label,
    outside_key,
)
from alignment_limits.report.numbers import verdict, verdict_of
from alignment_limits.study.objectives import counts

MARKERS = "osD^vP*Xp<>h"
PALE = 0.4  # what is not reliable


def policies(
    table: pl.DataFrame, frontier: pl.DataFrame, best_of_n: pl.DataFrame, look: Look, *, evaluated: str
) -> Figure:
    """Above: gain in the evaluated reward against KL, with 95% intervals. Below: each policy's share of the limit.

    Policies of one objective and optimised reward share a colour and a marker, and are joined in order of KL (a
    sweep over the KL coefficient). One of infinite KL has no place and is named under the figure.

    Args:
        table: `policies/policies.parquet`. frontier, best_of_n: `limits/*.parquet`.
    """
    rows = table.filter(pl.col("evaluated") == evaluated)
    drawn, lost = rows.filter(pl.col("kl").is_finite()), rows.filter(~pl.col("kl").is_finite())
    limit, alone = rising(furthest_curve(frontier, evaluated)), curve(frontier, evaluated, evaluated).reach
    with look.applied():
        figure = look.figure(height=min(1.05 * look.width, 4.6) - 0.3)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
        right = 1.12 * max([0.1, *drawn["kl"].to_list(), *drawn["kl_high"].drop_nans().to_list()])
        right = max(right, min(1.02 * limit.end, 2 * right))
        draw(top, limit, colour=INK, name="limit", width=1.5)
        pooled, beyond = _from_pools(drawn), limit.reliable & (limit.kl > alone)
        if pooled.height or beyond.any():
            points = [[*mine, *theirs] for mine, theirs in
                      ((limit.kl[beyond], pooled["kl"]), (limit.gain[beyond], pooled["limit"]))]  # fmt: skip
            (marks,) = top.plot(*points, **POOLED, zorder=4)
            marks.set_gid("limit:pooled")
        best_of(top, best_of_n, evaluated, "gain", right)
        best_of(bottom, best_of_n.filter(verdict(best_of_n, "efficiency")), evaluated, "efficiency", right)
        for group, colour, marker in _groups(drawn, look):
            _group(top, group, "gain", colour, marker, join=True)
            _group(bottom, _at_most_one(group), "efficiency", colour, marker, join=False)
        bottom.axhline(1, color=INK, lw=0.8, zorder=1)
        bottom.axhline(0, color=GREY, lw=0.5, zorder=1)
        top.axhline(0, color=GREY, lw=0.5, zorder=1)
        top.set_xlim(-0.02 * right, right)
        doubtful = curves.unreliable_rows(frontier, evaluated, limit).filter(pl.col("kl") <= right)
        _heights(top, bottom, limit.gain[limit.kl <= right], drawn, doubtful)
        bounded = [curves.draw_bounds(top, rows) for rows in (doubtful, drawn.filter(~verdict(drawn, "limit")))]
        shown = "gold" if evaluated == look.gold else label(evaluated)
        top.set_ylabel(GAIN.replace("gold", shown))
        bottom.set_ylabel("share\nof limit")
        bottom.set_xlabel(KL)
        _legend(figure, drawn, look, pooled=bool(pooled.height or beyond.any()), bounded=max(bounded, key=len))
        if lost.height:
            text = fold(f"not drawn (infinite KL): {', '.join(lost['policy'])}", look)
            figure.set_figheight(figure.get_figheight() + LINE * text.count("\n") * look.small / 72)
            figure.supxlabel(text, fontsize=look.small)
    return figure


def _from_pools(rows: pl.DataFrame) -> pl.DataFrame:
    """Policies whose limit is from their own samples too."""
    if "limit_from" not in rows.columns:  # older tables
        return rows.clear()
    return rows.filter((pl.col("limit_from") == "pool") & verdict(rows, "limit"))


def _at_most_one(rows: pl.DataFrame) -> pl.DataFrame:
    """Shares of the limit, which no policy passes: 1 where noise puts one higher, none where it is significantly so."""
    shares = rows.filter(pl.col("efficiency").is_finite() & ~(pl.col("efficiency_low") > 1).fill_null(False))
    above = pl.col("efficiency") > 1
    return shares.with_columns(
        pl.when(above & pl.col(c).is_finite()).then(pl.min_horizontal(c, pl.lit(1.0))).otherwise(c).alias(c)
        for c in ("efficiency", "efficiency_low", "efficiency_high")
    )


def _groups(rows: pl.DataFrame, look: Look) -> list[tuple[pl.DataFrame, Any, str]]:
    """Rows of each objective and optimised reward in order of KL, their colour and marker."""
    keyed = rows.with_columns(_group=_key())
    names = keyed["_group"].unique(maintain_order=True).to_list()
    palette = colours(look.palette, max(len(names), 1))
    return [
        (keyed.filter(pl.col("_group") == name).sort("kl"), palette[i], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(names)
    ]


def _key() -> pl.Expr:
    """What a policy is called in the key: its objective and the reward it was trained on, else its own name."""
    trained = pl.when(pl.col("optimized").is_null()).then(pl.lit("")).otherwise(pl.lit(" on ") + pl.col("optimized"))
    return pl.when(pl.col("objective").is_null()).then(pl.col("policy")).otherwise(pl.col("objective") + trained)


def _group(ax: Any, rows: pl.DataFrame, name: str, colour: Any, marker: str, *, join: bool) -> None:
    if join and rows.height > 1:
        ax.plot(rows["kl"], rows[name], color=colour, lw=0.7, alpha=0.6, zorder=3)
    for row in rows.iter_rows(named=True):
        bars = ax.errorbar(
            row["kl"], row[name], yerr=bar(row, name), xerr=bar(row, "kl") if join else None, fmt=marker,
            color=colour, ms=3.6, mew=0, elinewidth=0.9, zorder=5,
            alpha=1.0 if verdict_of(row, name) else PALE,
        )  # fmt: skip
        bars.lines[0].set_gid(f"{name}:{row['policy']}")


def bar(row: dict[str, Any], name: str) -> np.ndarray:
    """Lengths below and above; zero where there is no interval."""
    low, mid, high = (float(row[key]) for key in (f"{name}_low", name, f"{name}_high"))
    return np.clip(np.nan_to_num(np.array([[mid - low], [high - mid]])), 0, None)


def best_of(ax: Any, table: pl.DataFrame, reward: str, name: str, right: float) -> None:
    """Best-of-n by a reward, its gain or its share of the limit, up to a KL."""
    rows = table.filter(
        (pl.col("optimized") == reward) & (pl.col("evaluated") == reward) & (pl.col("method") == "best-of-n")
        & (pl.col("budget") == "average") & (pl.col("kl") <= right) & pl.col(name).is_finite()
    ).sort("kl")  # fmt: skip
    if name == "efficiency":
        rows = _at_most_one(rows)
    rows = rows.filter(pl.col("n") > 1).unique("kl", keep="first", maintain_order=True)
    look: dict[str, Any] = {"color": BEST_OF_N, "ms": 4, "mew": 0, "alpha": 0.8, "zorder": 2.5}
    (line,) = ax.plot(rows["kl"], rows[name], ".", **look)
    line.set_gid(f"{name}:best-of-n")
    _through(ax, rows["kl"].to_numpy(), rows[name].to_numpy())
    doubtful = rows.filter(~verdict(rows, name))
    (hollow,) = ax.plot(doubtful["kl"], doubtful[name], ".", **(look | {"mfc": "white", "mew": 0.5, "alpha": 1}))
    hollow.set_gid(f"{name}:best-of-n:unreliable")


def _through(ax: Any, kl: np.ndarray, value: np.ndarray) -> None:
    """A smooth thin line through the points of best-of-n; none to the origin, which is no choice among replies."""
    if len(kl) > 1:
        c = Curve(kl, value, value, value, np.isfinite(value))
        ax.plot(*pieces(c, value, True), color=BEST_OF_N, lw=0.7, alpha=0.8, zorder=2.4)


def _heights(top: Any, bottom: Any, limit: np.ndarray, rows: pl.DataFrame, bounded: pl.DataFrame) -> None:
    gains = [
        0.05,
        *limit[np.isfinite(limit)],
        *_from_pools(rows)["limit"].to_list(),
        *rows["gain"].to_list(),
        *rows["gain_high"].drop_nans().to_list(),
    ]
    losses = [0.0, *rows["gain"].to_list(), *rows["gain_low"].drop_nans().to_list()]
    top.set_ylim(min(losses) * 1.15 - 0.03 * max(gains), 1.1 * curves.with_bounds(max(gains), bounded))
    placed = _at_most_one(rows)
    shares = [placed[name].to_list() for name in ("efficiency", "efficiency_low", "efficiency_high")]
    shown = np.clip(np.nan_to_num(np.concatenate([[0.0, 1.0], *shares])), -2, 3)
    bottom.set_ylim(shown.min() - 0.08, shown.max() + 0.12)


def _legend(figure: Figure, rows: pl.DataFrame, look: Look, *, pooled: bool, bounded: str) -> None:
    handles = [
        Line2D([], [], color=INK, lw=1.5, label="limit"),
        Line2D([], [], color=BEST_OF_N, marker=".", ms=4, mew=0, lw=0.7, label="best-of-n"),
    ]
    if pooled:
        handles.append(Line2D([], [], **POOLED, label="limit, with samples of policies"))
    if bounded:
        handles.append(Line2D([], [], **BOUNDS, label=bounded))
    for group, colour, marker in _groups(rows, look):
        name = label(str(group["_group"][0]), 44)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=3.6, mew=0, lw=0.7, label=name))
    outside_key(figure, handles, look)


PANELS = {
    "reward": "{optimized}\n(base-model s.d.)",
    "kl": "KL from the base\n(nats per reply)",
    "length": "length\n(tokens per reply)",
    "entropy": "entropy\n(nats per reply)",
}
WINDOW = 20  # a smoothed point is the mean over one part in so many of the run
ENDS = {"converged": "o", "cut short": "x"}


def training_curves(curves: pl.DataFrame, look: Look) -> Figure:
    """Reward, KL, length and entropy per reply against step; a colour per coefficient.

    Each seed is a pale line, and their mean over a window that ends at the step a full one (gid
    `<panel>:<coefficient>`). With a stopping rule each seed ends with a dot where it converged and with a cross where
    it was cut short (gid `<panel>:converged`, `<panel>:cut short`).

    Args:
        curves: table `curves` of runs of one recipe and one optimised reward.
    """
    coefficients = curves["coefficient"].unique().sort().to_list()
    places = np.linspace(0, 1, len(coefficients) + 2)[1:-1]  # without the ends, of which one is pale
    shades = dict(zip(coefficients, matplotlib.colormaps["viridis"](places), strict=True))
    optimized = curves["optimized"][0]
    with look.applied():
        figure = look.figure(height=0.8 * look.width + 0.2)
        axes = figure.subplots(2, 2, sharex=True).ravel()
        for ax, (column, title) in zip(axes, PANELS.items(), strict=True):
            for coefficient, colour in shades.items():
                _lines(ax, curves.filter(pl.col("coefficient") == coefficient), column, coefficient, colour)
            _ends(ax, curves, column, shades)
            ax.set_ylabel(title.format(optimized=label(optimized, 22)))
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for ax in axes[:2]:
            ax.axhline(0, color=GREY, lw=0.5, zorder=1)
        figure.supxlabel("training step", fontsize=look.font_size)
        handles = [Line2D([], [], color=c, lw=1.2, label=f"{value:g}") for value, c in shades.items()]
        there = set(curves["ended"]) if "ended" in curves.columns else set()
        if curves["objective"][0] != "exact":
            handles += [
                Line2D([], [], color=GREY, marker=m, ms=4, lw=0, label=ended)
                for ended, m in ENDS.items()
                if ended in there
            ]
        what = "n" if counts(curves["objective"][0]) else "KL coefficient"
        outside_key(figure, handles, look, title=what)
    return figure


def _lines(ax: Any, rows: pl.DataFrame, column: str, coefficient: float, colour: Any) -> None:
    rows = rows.drop_nulls(column)
    for (_,), run in rows.group_by("seed", maintain_order=True):
        ax.plot(run["step"], run[column], color=colour, lw=0.5, alpha=0.35, zorder=2)
    mean = rows.group_by("step").agg(pl.col(column).mean()).sort("step")
    window = max(1, mean.height // WINDOW)
    total = np.concatenate([[0.0], np.cumsum(mean[column].to_numpy())])
    ends = np.arange(1, mean.height + 1)
    starts = np.maximum(0, ends - window)
    (line,) = ax.plot(mean["step"], (total[ends] - total[starts]) / (ends - starts), color=colour, lw=1.2, zorder=3)
    line.set_gid(f"{column}:{coefficient:g}")


def _ends(ax: Any, curves: pl.DataFrame, column: str, shades: Mapping[float, Any]) -> None:
    """Where each seed ended, on its mean over the window of the full line."""
    if "ended" not in curves.columns or curves["objective"][0] == "exact":
        return
    for (ended, coefficient, _), run in curves.drop_nulls(column).group_by(
        "ended", "coefficient", "seed", maintain_order=True
    ):
        if ended in ENDS:
            last = run[column][-max(1, run.height // WINDOW) :].mean()
            marks = {"marker": ENDS[ended], "ms": 4, "mew": 1.2 if ended == "cut short" else 0, "lw": 0, "zorder": 4}
            (mark,) = ax.plot(run["step"][-1], last, color=shades[coefficient], **marks)
            mark.set_gid(f"{column}:{ended}")


def exact(
    frontier: pl.DataFrame, best_of_n: pl.DataFrame, policies: pl.DataFrame | None, look: Look, *, evaluated: str
) -> Figure:
    """Gain against KL. Lines and filled markers are exact, for the study's own prompts; hollow markers with bars are
    estimates and their 95% intervals.

    Args:
        frontier, best_of_n, policies: tables of `exact/`; no policies, no markers.
    """
    own = (pl.col("optimized") == evaluated) & (pl.col("evaluated") == evaluated) & (pl.col("budget") == "average")
    points = frontier.filter(own & (pl.col("at") == "kl") & (pl.col("quantity") == "gain"))
    if "samples_from" in points.columns:  # at each KL the reliable row; the base's where both are, or neither is
        points = points.sort("kl", ~pl.col("reliable"), "samples_from").unique("kl", keep="first")
    points = points.sort("kl")
    handles = [_line(INK, "limit"), _line(BEST_OF_N, "best-of-n", marker=".")]
    with look.applied():
        figure = look.figure(height=0.8 * look.width)
        ax = figure.subplots()
        kl, gain = (np.concatenate([[0.0], points[name].to_numpy()]) for name in ("kl", "exact"))
        line = Curve(kl, gain, gain, gain, np.isfinite(gain))
        ax.plot(*pieces(line, gain, True), color=INK, lw=1.4, zorder=2)[0].set_gid("limit")
        _estimates(ax, points["kl"].to_list(), points, INK, "o", "limit")
        wide = best_of_n.filter(own & (pl.col("method") == "best-of-n"))
        _pairs(ax, wide, ["n"], BEST_OF_N, "o", "best-of-n", join=True)
        if policies is not None:
            rows = policies.filter(pl.col("evaluated") == evaluated)
            groups = rows.select("objective", "optimized").unique(maintain_order=True).rows()
            for i, (group, colour) in enumerate(zip(groups, colours(look.palette, len(groups)), strict=True)):
                some = rows.filter(
                    pl.concat_str("objective", "optimized", separator="\n") == "\n".join(map(str, group))
                )
                _pairs(ax, some, ["policy"], colour, MARKERS[i % len(MARKERS)], f"{group[0]} on {group[1]}")
                text = label(f"{group[0]} on {group[1]}", 40)
                handles.append(_line(colour, text, marker=MARKERS[i % len(MARKERS)], lw=0))
        handles.append(Line2D([], [], color=GREY, marker="o", mfc="white", ms=3.6, lw=0, label="estimates"))
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        ax.set_xlabel(KL)
        ax.set_ylabel(GAIN.replace("gold", "gold" if evaluated == look.gold else label(evaluated, 30)))
        outside_key(figure, handles, look)
    return figure


def _line(colour: Any, name: str, **look: Any) -> Line2D:
    return Line2D([], [], **{"color": colour, "lw": 1.2, "ms": 4, "mew": 0, "label": name} | look)


def _pairs(
    ax: Any, rows: pl.DataFrame, key: list[str], colour: Any, marker: str, name: str, *, join: bool = False
) -> None:
    """Exact KL and gain as filled markers, estimated ones as hollow markers."""
    spent, gained = (rows.filter(pl.col("quantity") == q) for q in ("kl", "gain"))
    both = gained.join(spent.select(*key, x="exact", x_estimate="estimate"), on=key).sort("x")
    if join:
        both = both.filter(pl.col("x") > 0)
        _through(ax, both["x"].to_numpy(), both["exact"].to_numpy())
    (line,) = ax.plot(both["x"], both["exact"], "", color=colour, marker=marker, ms=3.8, mew=0, lw=0, zorder=4)
    line.set_gid(name)
    _estimates(ax, both["x_estimate"].to_list(), both, colour, marker, name)


def _estimates(ax: Any, x: list[float], rows: pl.DataFrame, colour: Any, marker: str, name: str) -> None:
    middle, low, high = (rows[column].to_numpy() for column in ("estimate", "low", "high"))
    bars = np.clip(np.nan_to_num(np.stack([middle - low, high - middle])), 0, None)
    drawn = ax.errorbar(
        x, middle, yerr=bars, fmt=marker, color=colour, mfc="white", ms=3.6, mew=0.7, elinewidth=0.7, zorder=3
    )
    drawn.lines[0].set_gid(f"{name}:estimates")

"""How far policies are from the target of their preferences, by the number of pairs; both theories on one plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from alignment_limits.policies.target import chosen, distances, main_setting, objectives_of, with_exact
from alignment_limits.report.figures.curves import draw, furthest_curve, rising
from alignment_limits.report.figures.learning import LEARNED, MARKERS
from alignment_limits.report.figures.policies import bar, best_of
from alignment_limits.report.figures.style import BEST_OF_N, GAIN, GREY, INK, KL, Look, label, outside_key
from alignment_limits.study.objectives import named

_KLS = {"forward_kl": "KL(target‖policy)", "reverse_kl": "KL(policy‖target)"}
_AS_BEST_OF_N = "distillation-on-policy"  # whose colour best-of-n has on the plane
_OTHERS = "hd8pH*"  # of objectives that are not of learning from preferences


def targets(rows: pl.DataFrame, look: Look) -> Figure:
    """Above forward, below reverse KL in nats. Left: a point for each seed, lines through their means. Right: policies
    that learned from a reward, not from pairs. Dashed: the base. Hollow: not reliable; arrows: below the axis.

    Args:
        rows: from `distances`, of one setting, `chosen`.
    """
    learned = pl.col("pairs").is_not_null()
    parts = [rows.filter(learned), rows.filter(~learned & (pl.col("policy") != "base"))]
    shown = [i for i, part in enumerate(parts) if part.height]
    names = objectives_of(rows)
    with look.applied():
        figure = look.figure(height=1.0 * look.width)
        axes = figure.subplots(
            2, len(shown), sharex="col", sharey="row", squeeze=False, width_ratios=[(3, 1)[i] for i in shown]
        )
        for above, (quantity, text) in zip(axes, _KLS.items(), strict=True):
            of = pl.col("quantity") == quantity
            floor = _floor(rows.filter(of))
            for ax, i in zip(above, shown, strict=True):
                _panel(ax, parts[i].filter(of), names, look, floor, against_pairs=i == 0)
                _base(ax, rows.filter(of & (pl.col("policy") == "base")))
                ax.set_yscale("log")
                ax.yaxis.set_minor_formatter(NullFormatter())
            decades = np.log10(above[0].get_ylim()[1] / above[0].get_ylim()[0])
            above[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if decades < 3 else (1.0,)))
            above[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            above[0].set_ylabel(f"{text}\n(nats)")
        for ax, i in zip(axes[1], shown, strict=True):
            ax.set_xlabel(("number of preference pairs n", "no pairs")[i])
        figure.align_xlabels(axes[1])
        _legend(figure, names, look)
    return figure


def style(objective: str, names: Sequence[str], look: Look) -> tuple[Any, str]:
    """Colour and marker of an objective, those of the figures of learning where it is one of theirs.

    The others of `names` have the last colours of ten, and then those that are left over.
    """
    others = [name for name in names if name not in LEARNED]
    places = [*LEARNED, *others[:2]]
    left = [i for i, name in enumerate(LEARNED) if name not in names and name != _AS_BEST_OF_N]
    for i, name in zip(left, others[2:], strict=False):
        places[i] = name
    colour = Look(palette=look.palette, gold="", names=tuple(places)).colour(objective)
    return colour, MARKERS.get(objective) or _OTHERS[others.index(objective) % len(_OTHERS)]


def _panel(ax: Any, rows: pl.DataFrame, names: Sequence[str], look: Look, floor: float, *, against_pairs: bool) -> None:
    own = [name for name in names if name in set(rows["objective"])]
    for place, name in enumerate(own):
        colour, marker = style(name, names, look)
        part = rows.filter(pl.col("objective") == name)
        if against_pairs:
            means = part.group_by("pairs").agg(pl.col("value").mean()).sort("pairs")
            (line,) = ax.plot(means["pairs"], means["value"].clip(floor), color=colour, lw=0.9, zorder=3)
            line.set_gid(f"mean:{name}")
        for row in part.iter_rows(named=True):
            x = row["pairs"] if against_pairs else place
            _point(ax, x, row, colour, marker, floor)
    if against_pairs:
        ax.set_xscale("log", base=2)
    else:
        ax.set_xlim(-0.7, len(own) - 0.3)
        ax.set_xticks([])


def _point(ax: Any, x: float, row: dict[str, Any], colour: Any, marker: str, floor: float) -> None:
    value, low, high = (np.nan_to_num(float(row[c]), nan=float(row["value"])) for c in ("value", "low", "high"))
    if not np.isfinite(value):
        return
    if high > low:
        ax.vlines(x, max(low, floor), max(high, floor), color=colour, lw=0.7, alpha=0.5, zorder=2)
    (drawn,) = ax.plot(
        [x], [max(value, floor)], marker if value > floor else "v", color=colour, ms=3.6, mew=0.7, zorder=4,
        mfc=colour if row["reliable"] else "white",
    )  # fmt: skip
    drawn.set_gid(f"{row['quantity']}:{row['policy']}")


def _base(ax: Any, rows: pl.DataFrame) -> None:
    for row in rows.iter_rows(named=True):
        ax.axhline(row["value"], color=GREY, lw=0.8, ls="--", zorder=1, gid="base")
        if row["high"] > row["low"] > 0:
            ax.axhspan(row["low"], row["high"], color=GREY, alpha=0.12, lw=0, zorder=0)


def _floor(rows: pl.DataFrame) -> float:
    """Half of the smallest distance that is significantly above zero, or else is estimated above zero."""
    for column in ("low", "value"):
        above = rows.filter((pl.col(column) > 0) & pl.col(column).is_finite())["value"].to_numpy()
        if above.size:
            return 0.5 * float(above.min())
    return 1e-6


def _legend(figure: Figure, names: Sequence[str], look: Look) -> None:
    handles = [Line2D([], [], color=GREY, lw=0.8, ls="--", label="base model")]
    for name in names:
        colour, marker = style(name, names, look)
        text = label(named(name), 44)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=3.6, mew=0, lw=0.9, label=text))
    outside_key(figure, handles, look)


_SIZES = "osD^vP<>Xh"  # markers of numbers of pairs, from the fewest
_NO_PAIRS = "x"


def target_plane(
    rows: pl.DataFrame,
    target: tuple[float, float],
    policies: pl.DataFrame,
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    look: Look,
    *,
    evaluated: str,
) -> Figure:
    """Gain against KL: the limit, best-of-n, the target on the limit (star), and policies, their colour the objective,
    their marker the number of pairs.

    Args:
        rows: from `distances`, of one setting, `chosen`: the policies to draw. target: its KL and gain.
        policies: `policies/policies.parquet`. frontier, best_of_n: `limits/*.parquet`.
    """
    labels = rows.filter(pl.col("quantity") == "forward_kl").select("policy", "pairs", named="objective")
    placed = policies.filter((pl.col("evaluated") == evaluated) & pl.col("kl").is_finite()).join(labels, on="policy")
    names = objectives_of(rows)
    sizes = sorted(placed["pairs"].drop_nulls().unique())
    limit = rising(furthest_curve(frontier, evaluated))
    with look.applied():
        figure = look.figure(height=0.85 * look.width)
        ax = figure.subplots()
        right = 1.12 * max([0.1, target[0], *placed["kl"].to_list(), *placed["kl_high"].drop_nans().to_list()])
        right = max(right, min(1.02 * limit.end, 1.5 * right))
        draw(ax, limit, colour=INK, name="limit", width=1.5)
        best_of(ax, best_of_n, evaluated, "gain", right)
        for row in placed.iter_rows(named=True):
            marker = _NO_PAIRS if row["pairs"] is None else _SIZES[sizes.index(row["pairs"]) % len(_SIZES)]
            _policy(ax, row, style(row["named"], names, look)[0], marker)
        (star,) = ax.plot(*target, "*", color=INK, mfc="#ffffff", ms=9, mew=0.8, zorder=6)
        star.set_gid("target")
        ax.axhline(0, color=GREY, lw=0.5, zorder=1)
        ax.set_xlim(-0.02 * right, right)
        gains = [*limit.gain[limit.kl <= right], target[1], *placed["gain_high"].drop_nans().to_list()]
        ax.set_ylim(min(0.0, *placed["gain_low"].drop_nans().to_list(), 0.0) - 0.04 * max(gains), 1.1 * max(gains))
        ax.set_xlabel(KL)
        ax.set_ylabel(GAIN.replace("gold", "gold" if evaluated == look.gold else label(evaluated)))
        _plane_legend(figure, names, sizes, bool(placed["pairs"].null_count()), look)
    return figure


def _policy(ax: Any, row: dict[str, Any], colour: Any, marker: str) -> None:
    bars = ax.errorbar(
        row["kl"], row["gain"], yerr=bar(row, "gain"), xerr=bar(row, "kl"), fmt=marker, color=colour, ms=4,
        mew=1.0 if marker == _NO_PAIRS else 0, elinewidth=0.6, zorder=5,
    )  # fmt: skip
    bars.lines[0].set_gid(f"gain:{row['policy']}")


def _plane_legend(figure: Figure, names: list[str], sizes: list[int], without: bool, look: Look) -> None:
    handles = [
        Line2D([], [], color=INK, lw=1.5, label="limit"),
        Line2D([], [], color=BEST_OF_N, marker=".", ms=4, mew=0, lw=0.7, label="best-of-n"),
        Line2D([], [], color=INK, marker="*", mfc="#ffffff", ms=7, mew=0.8, lw=0, label="target"),
    ]
    handles += [Line2D([], [], color=style(n, names, look)[0], lw=2.5, label=label(named(n), 44)) for n in names]
    markers = [(_SIZES[i % len(_SIZES)], f"n = {size:,}") for i, size in enumerate(sizes)]
    markers += [(_NO_PAIRS, "no pairs")] if without else []
    for marker, text in markers:
        handles.append(Line2D([], [], color=GREY, marker=marker, ms=4, lw=0, mew=marker == _NO_PAIRS, label=text))
    outside_key(figure, handles, look)


def of_tables(estimated: pl.DataFrame, exact: pl.DataFrame | None, look: Look) -> Figure:
    """`targets` from the tables of distances; exact values take the place of estimates where there are any."""
    return targets(chosen(main_setting(distances(estimated, exact))), look)


def plane_of_tables(
    estimated: pl.DataFrame,
    policies: pl.DataFrame,
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    exact: pl.DataFrame | None,
    exact_policies: pl.DataFrame | None,
    exact_frontier: pl.DataFrame | None,
    exact_best_of_n: pl.DataFrame | None,
    look: Look,
) -> Figure:
    """`target_plane` from the study's tables; exact values take the place of estimates where there are any."""
    found = distances(estimated, exact)
    base = dict(found.filter(pl.col("policy") == "base").select("quantity", "value").iter_rows())
    spent = base["forward_kl"]
    gained = estimated["beta"][0] * (spent + base["reverse_kl"])  # a tilt's gain is β times the Jeffreys divergence
    pairs = ((policies, exact_policies), (frontier, exact_frontier), (best_of_n, exact_best_of_n))
    one, two, three = (table if known is None else with_exact(table, known) for table, known in pairs)
    evaluated = estimated["reward"][0]
    return target_plane(chosen(main_setting(found)), (spent, gained), one, two, three, look, evaluated=evaluated)

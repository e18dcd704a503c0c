"""Two theories on one plane: the limit of reward against KL, and what is learned of a target from preferences."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.figures.curves import draw, limit_curve
from alignment_limits.figures.layout import outside_key
from alignment_limits.figures.policies import bar, best_of
from alignment_limits.figures.style import BEST_OF_N, GREY, INK, Look, label
from alignment_limits.figures.targets import style
from alignment_limits.learning.names import named
from alignment_limits.policies.distances import objectives_of

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
    limit = limit_curve(frontier, evaluated)
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
        ax.set_xlabel("KL from the base model (nats per sequence)")
        ax.set_ylabel(f"gain in {'gold' if evaluated == look.gold else label(evaluated)} (base s.d.)")
        _legend(figure, names, sizes, bool(placed["pairs"].null_count()), look)
    return figure


def _policy(ax: Any, row: dict[str, Any], colour: Any, marker: str) -> None:
    bars = ax.errorbar(
        row["kl"], row["gain"], yerr=bar(row, "gain"), xerr=bar(row, "kl"), fmt=marker, color=colour, ms=4,
        mew=1.0 if marker == _NO_PAIRS else 0, elinewidth=0.6, zorder=5,
    )  # fmt: skip
    bars.lines[0].set_gid(f"gain:{row['policy']}")


def _legend(figure: Figure, names: list[str], sizes: list[int], without: bool, look: Look) -> None:
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

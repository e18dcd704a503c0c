"""How far learned policies are from their target against the number of preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.figures.keys import place
from alignment_limits.figures.objectives import handles, line
from alignment_limits.figures.style import GREY, INK, SHADE, Look
from alignment_limits.learning.names import first_setting, in_order

_KLS = {"forward_kl": "KL(target‖policy)", "reverse_kl": "KL(policy‖target)"}


def learning_rates(summary: pl.DataFrame, look: Look, objectives: Sequence[str]) -> Figure:
    """Left: without regularisation. Right: coefficients chosen for each n, by the oracle (solid) and held out (dotted).

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
        place(axes[0, 0], [Line2D([], [], color=INK, lw=0.8, ls=":", label="first order, c/n")], look, "β = 0", 1)
        place(axes[0, 1], handles(objectives, look), look, "β chosen for each n", 2)
        figure.supxlabel("preference pairs n", fontsize=look.font_size)
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

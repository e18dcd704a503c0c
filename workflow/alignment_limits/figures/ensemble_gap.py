"""How much a wrong reward costs against the number of proxies in an ensemble, beside what their errors predict."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alignment_limits.figures.layout import outside_key
from alignment_limits.figures.style import DASHED, GREY, INK, Look
from alignment_limits.verdicts import verdict

_PREDICTED = (0, (5, 1.5, 1, 1.5, 1, 1.5))
_SHIFT = {"mean": -0.12, "median": -0.04, "minimum": 0.04, "mean-variance": 0.12, "entropic": 0.2}


def ensemble_gap(table: pl.DataFrame, look: Look, *, beta: float) -> Figure:
    """Regularised gap at one β against K, the mean over subsets of the proxies; thin lines span the subsets.

    Hollow and dashed: the gap of some subset of that size is not reliable. The prediction (dash and dots) is from the
    members' error variances and correlations, for the mean and small errors; its floor (dotted) is what their mean
    correlation leaves however many there are.

    Args:
        table: `limits/ensembles.parquet`.
        beta: one of the table's temperatures, in units of the rewards' base spread.
    """
    rows = table.filter(pl.col("beta") == beta)
    single = rows.filter(pl.col("k") == 1)
    names = [a for a in _SHIFT if a in rows["aggregator"].unique()]
    palette = Look(palette=look.palette, gold="", names=tuple(names))
    with look.applied():
        figure = look.figure(height=1.9)
        ax = figure.subplots()
        handles: list[Any] = []
        all_reliable = True
        for name in names:
            # single members stand for every aggregator
            own = pl.concat([single, rows.filter((pl.col("aggregator") == name) & (pl.col("k") > 1))])
            own = own.with_columns(_reliable=verdict(own, "gap"))
            by_k = own.group_by("k").agg(
                mid=pl.col("gap").mean(), low=pl.col("gap").min(), high=pl.col("gap").max(),
                reliable=pl.col("_reliable").all(),
            ).sort("k")  # fmt: skip
            x, mid, reliable = ((by_k["k"] + _SHIFT[name]).to_numpy(), by_k["mid"].to_numpy(), by_k["reliable"])
            colour, trusted = palette.colour(name), reliable.to_numpy()
            ax.vlines(x, by_k["low"].to_numpy(), by_k["high"].to_numpy(), color=colour, lw=0.7, alpha=0.6)
            for i in range(len(x) - 1):
                both = trusted[i] and trusted[i + 1]
                ax.plot(
                    x[i : i + 2], mid[i : i + 2], color=colour, lw=1.0 if both else 0.65, ls="-" if both else DASHED
                )
            marks: dict[str, Any] = {"marker": "o", "ms": 2.6, "mew": 0.7, "mec": colour, "ls": "none", "color": colour}
            ax.plot(x, mid, zorder=3, **marks)[0].set_gid(name)
            ax.plot(x[~trusted], mid[~trusted], zorder=3.1, **(marks | {"mfc": "white"}))[0].set_gid(
                f"{name}:unreliable"
            )
            handles.append(Line2D([], [], color=colour, marker="o", ms=2.6, lw=1.0, label=name))
            all_reliable &= bool(trusted.all())
        predicted = (
            rows.filter(pl.col("aggregator") == "mean").group_by("k").agg(pl.col("gap_predicted").mean()).sort("k")
        )
        handles += ax.plot(
            predicted["k"], predicted["gap_predicted"], color=INK, lw=1.0, ls=_PREDICTED, label="predicted, mean"
        )
        handles[-1].set_gid("predicted")
        floor = float(rows["gap_floor"].drop_nans().to_numpy().mean())
        handles.append(ax.axhline(floor, color=GREY, lw=0.8, ls=":", label="predicted floor", gid="floor"))
        if not all_reliable:
            look_of: dict[str, Any] = {
                "color": GREY,
                "marker": "o",
                "ms": 2.6,
                "mew": 0.7,
                "mfc": "white",
                "lw": 0.65,
                "ls": DASHED,
            }
            handles.append(Line2D([], [], label="not reliable", **look_of))
        ax.set_xticks(sorted(rows["k"].unique()))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("proxies in the ensemble, K")
        ax.set_ylabel(f"regularised gap\nat β = {beta:g} (base s.d.)")
        outside_key(figure, handles, look)
    return figure

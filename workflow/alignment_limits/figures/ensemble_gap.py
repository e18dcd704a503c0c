"""How much a wrong reward costs against the number of proxies in an ensemble, beside what their errors predict."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from alignment_limits.figures.style import DASHED, GREY, INK, Look

_SHIFT = {"mean": -0.12, "median": -0.04, "minimum": 0.04, "mean-variance": 0.12, "entropic": 0.2}


def ensemble_gap(table: pl.DataFrame, look: Look, *, beta: float) -> Figure:
    """Regularised gap at one β against K, the mean over subsets of the proxies; thin lines span the subsets.

    The prediction (dashed) is from the members' error variances and correlations, for the mean and small errors;
    its floor (dotted) is what their mean correlation leaves however many there are.

    Args:
        table: `limits/ensembles.parquet`.
        beta: one of the table's temperatures, in units of the rewards' base spread.
    """
    rows = table.filter(pl.col("beta") == beta)
    single = rows.filter(pl.col("k") == 1)
    names = [a for a in _SHIFT if a in rows["aggregator"].unique()]
    palette = Look(palette=look.palette, gold="", names=tuple(names))
    with look.applied():
        figure = look.figure(height=2.3)
        ax = figure.subplots()
        for name in names:
            # single members stand for every aggregator
            own = pl.concat([single, rows.filter((pl.col("aggregator") == name) & (pl.col("k") > 1))])
            by_k = own.group_by("k").agg(mid=pl.col("gap").mean(), low=pl.col("gap").min(), high=pl.col("gap").max())
            by_k = by_k.sort("k")
            x = (by_k["k"] + _SHIFT[name]).to_numpy()
            colour = palette.colour(name)
            ax.vlines(x, by_k["low"].to_numpy(), by_k["high"].to_numpy(), color=colour, lw=0.7, alpha=0.6)
            ax.plot(x, by_k["mid"].to_numpy(), "o-", ms=2.6, lw=1.0, color=colour, label=name)
        predicted = (
            rows.filter(pl.col("aggregator") == "mean").group_by("k").agg(pl.col("gap_predicted").mean()).sort("k")
        )
        ax.plot(predicted["k"], predicted["gap_predicted"], color=INK, lw=1.0, ls=DASHED, label="predicted, mean")
        floor = float(rows["gap_floor"].drop_nans().to_numpy().mean())
        ax.axhline(floor, color=GREY, lw=0.8, ls=":", label="predicted floor")
        ax.set_xticks(sorted(rows["k"].unique()))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("proxies in the ensemble, K")
        ax.set_ylabel(f"regularised gap\nat β = {beta:g} (base s.d.)")
        ax.legend(fontsize=look.small, frameon=False, ncols=2)
    return figure

"""Over-optimisation along best-of-n: gold under each proxy, Gao's fit to it, and where to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from alignment_limits.figures.keys import columns, key
from alignment_limits.figures.style import DASHED, ENSEMBLE, GREY, INK, Look, order
from alignment_limits.limits.bounds import GaoFit


def over_optimisation(
    fits: pl.DataFrame,
    best_of_n: pl.DataFrame,
    look: Look,
    *,
    proxies: Sequence[str] = (),
    ensembles: Sequence[str] = (),
) -> Figure:
    """Gain in gold (base standard deviations) of best-of-n by each proxy and ensemble against its KL (nats).

    Dots with 95% bars: best-of-n. Lines: the fit d (alpha - beta d), d = sqrt(KL), over the KLs it was made on; dashed
    where it does not describe the points. A stopping point that was found is a triangle with its interval.

    Args:
        fits: `limits/over_optimisation.parquet`.
        best_of_n: `limits/best_of_n.parquet`.
    """
    points = best_of_n.filter(
        (pl.col("evaluated") == look.gold)
        & (pl.col("method") == "best-of-n")
        & (pl.col("budget") == "average")
        & pl.col("gain").is_finite()
    ).sort("n")
    rows = fits.filter(pl.col("path") == "best-of-n")
    groups = [(title, list(g)) for title, g in (("single proxies", proxies), ("ensembles", ensembles)) if g]
    with look.applied():
        room = 72 * look.width - 6 * look.font_size
        lines = [-(-len(g) // columns(g, look, room)) for _, g in groups]
        height = max(len(groups), 1) * (0.46 * look.width + 0.14) + 0.14 * sum(lines) + 0.35
        figure = look.figure(height=height)
        axes = figure.subplots(max(len(groups), 1), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for ax, (title, names) in zip(axes, groups, strict=False):
            ax.axhline(0, color=GREY, lw=0.5, zorder=1)
            known = {n: points.filter(pl.col("optimized") == n) for n in names}
            ranked = order(names, {n: p["gain"].max() for n, p in known.items() if p.height})  # type: ignore[misc]
            for name in ranked:
                colour, style = look.colour(name), ENSEMBLE if name in ensembles else "-"
                _points(ax, known[name], colour, name)
                for fit in rows.filter(pl.col("optimized") == name).iter_rows(named=True):
                    _fit(ax, fit, colour, style)
                    _stop(ax, fit, known[name], colour)
            key(ax, ranked, look, ensembles, title, columns(names, look, room))
        axes[0].set_xlim(0, 1.05 * max([0.5, *points["kl"].to_list()]))
        figure.supylabel("gain in gold (base s.d.)", fontsize=look.font_size)
        axes[-1].set_xlabel("KL of best-of-n (nats per sequence)")
    return figure


def _points(ax: Any, rows: pl.DataFrame, colour: Any, name: str) -> None:
    x, low, high = (rows[c].to_numpy() for c in ("kl", "gain_low", "gain_high"))
    ax.vlines(x, low, high, color=colour, lw=0.7, alpha=0.5, zorder=2)
    (line,) = ax.plot(x, rows["gain"].to_numpy(), "o", color=colour, ms=2.4, mew=0, zorder=3)
    line.set_gid(name)


def _fit(ax: Any, fit: dict[str, Any], colour: Any, style: Any) -> None:
    """The fitted curve over its own range of KL, nothing beyond."""
    if not np.isfinite(fit["alpha"]):
        return
    curve = GaoFit(**{name: fit[name] for name in GaoFit.__dataclass_fields__}).curve
    x = np.linspace(np.sqrt(fit["fit_from"]), np.sqrt(fit["fit_to"]), 60) ** 2
    trusted = fit["fit_reliable"]
    (line,) = ax.plot(x, curve(x), color=colour, ls=style if trusted else DASHED, lw=1.1 if trusted else 0.7, zorder=4)
    line.set_gid(f"fit:{fit['optimized']}")


def _stop(ax: Any, fit: dict[str, Any], points: pl.DataFrame, colour: Any) -> None:
    """The stopping point at the KL of its n, read between the tabulated n, with its interval."""
    if not fit["found"] or points.height < 2:
        return
    log_n, kl = np.log(points["n"].to_numpy()), points["kl"].to_numpy()
    low, at, high = (float(np.interp(np.log(fit[c]), log_n, kl)) for c in ("peak_low", "peak", "peak_high"))
    ax.hlines(fit["gain"], low, high, color=INK, lw=0.8, zorder=5)
    (mark,) = ax.plot([at], [fit["gain"]], marker="v", ms=5, color=colour, mec=INK, mew=0.6, ls="none", zorder=6)
    mark.set_gid(f"stop:{fit['optimized']}")

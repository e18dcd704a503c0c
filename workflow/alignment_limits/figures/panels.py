"""The main figure: several studies side by side, each with its frontier, best-of-n, and gold under its proxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from alignment_limits.figures.curves import curve, draw
from alignment_limits.figures.frontier import draw_best_of
from alignment_limits.figures.keys import columns, key
from alignment_limits.figures.style import INK, Look, order


@dataclass(frozen=True)
class Panel:
    """One study: its title, `limits/frontier.parquet`, `limits/best_of_n.parquet`, gold and proxies by name."""

    title: str
    frontier: pl.DataFrame
    best_of_n: pl.DataFrame
    gold: str
    proxies: tuple[str, ...]


def panels(studies: Sequence[Panel], look: Look) -> Figure:
    """Gain in gold against KL, a panel a study: the limit (black, 95% band), best-of-n, gold under each proxy.

    Average budget. What is not reliable is dashed and pale. Axes are shared: all is in gold's base standard
    deviations and nats. Keys are in the order of the curves from top to bottom.
    """
    looks = [replace(look, gold=s.gold, names=s.proxies) for s in studies]
    room = 72 * look.width / len(studies) - 6 * look.font_size
    with look.applied():
        lines = max(
            -(-len(s.proxies) // columns(list(s.proxies), own, room)) for s, own in zip(studies, looks, strict=True)
        )
        figure = look.figure(height=0.78 * look.width / len(studies) + 0.14 * (lines + 1) + 0.4)
        axes = np.atleast_1d(figure.subplots(1, len(studies), sharex=True, sharey=True))
        highest, furthest = 0.1, 0.1
        for ax, study, own in zip(axes, studies, looks, strict=True):
            ideal = curve(study.frontier, study.gold, study.gold)
            curves = {name: curve(study.frontier, name, study.gold) for name in study.proxies}
            common = min([ideal.reach, *(c.reach for c in curves.values())]) or ideal.end
            ranked = order(study.proxies, {name: c.at(common) for name, c in curves.items()})
            for name in ranked:
                draw(ax, curves[name], colour=own.colour(name), name=name, band=0.1)
            draw(ax, ideal, colour=INK, name=study.gold, width=1.5)
            points = study.best_of_n.filter(
                (pl.col("optimized") == study.gold)
                & (pl.col("evaluated") == study.gold)
                & (pl.col("method") == "best-of-n")
                & (pl.col("n") > 1)
                & pl.col("gain").is_finite()
            ).sort("n")
            draw_best_of(ax, points, own)
            key(ax, ranked, own, (), study.title, columns(ranked, own, room))
            drawn = [ideal.high[ideal.reliable], ideal.gain, points["gain"].to_numpy()]
            highest = max(highest, float(np.nanmax(np.concatenate(drawn))))
            furthest = max(furthest, ideal.end, *points["kl"].to_list())
        axes[0].set_ylim(min(0.0, axes[0].get_ylim()[0]), 1.08 * highest)
        axes[0].set_xlim(0, 1.03 * furthest)
        axes[0].set_ylabel("gain in gold (base s.d.)")
        figure.supxlabel("KL from the base model (nats per sequence)", fontsize=look.font_size)
    return figure

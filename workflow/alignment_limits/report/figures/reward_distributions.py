"""What the rewards look like on the base model's own samples: shapes, atoms, tails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.figures.style import GREY, INK, LINE, Look, label, order

_NAME = 18  # characters of a line of a name
_BIN = 0.2  # base standard deviations
_REACH = 6.0  # the axis never goes further; samples beyond are counted in the outermost bins
_CROWDED = 1.12  # height of a row's tallest bar in units of the distance between rows


def of_scores(scores: pl.DataFrame, look: Look, rewards: Sequence[str]) -> Figure:
    """The figure from the standardised scores alone; `rewards` are in `look.names`, which orders the rows."""
    return reward_distributions(scores, within_prompt_spearman(scores, look.gold, look.names), look)


def reward_distributions(scores: pl.DataFrame, agreement: pl.DataFrame, look: Look) -> Figure:
    """One row per reward: a histogram of its standardised, prompt-centred scores, height ∝ √density.

    The square root shows tails and body at once and gives all bars the same noise. Dotted: the standard
    normal. Ticks under a row: its 1%, 50% and 99% quantiles. At the right, the mean within-prompt Spearman
    correlation with gold. Gold comes first, then the others from high to low correlation.

    Args:
        scores: `ensembles/standardised.parquet` (prompt_id, sample_id, one column per reward or ensemble).
        agreement: from `report.agreement.within_prompt_spearman`.
    """
    rho = dict(agreement.select("reward", "spearman").iter_rows())
    names = [look.gold, *order([n for n in look.names if n in scores.columns], rho)]
    values = {n: scores[n].drop_nulls().drop_nans().to_numpy() for n in names}
    reach = _reach(values)
    edges = np.arange(-reach, reach + _BIN / 2, _BIN)
    with look.applied():
        lines = max(1 + label(name, _NAME).count("\n") for name in names)
        figure = look.figure(height=max(0.3, 0.06 + LINE * lines * look.small / 72) * len(names) + 0.6)
        ax = figure.subplots()
        tallest = max(np.sqrt(_density(v, edges)).max() for v in values.values())
        grid = np.linspace(-reach, reach, 241)
        normal = np.sqrt(np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi))
        unit = _CROWDED / max(tallest, normal.max())
        for row, name in enumerate(names):
            base, z = -row, 2 + 3 * row
            _row(ax, values[name], edges, base, unit, look.colour(name), z, name)
            ax.plot(grid, base + unit * normal, color=GREY, lw=0.6, ls=(0, (1, 1.2)), zorder=z + 1)
            text = "" if name == look.gold else _rho(rho.get(name))
            ax.annotate(
                text,
                (1, base),
                xycoords=("axes fraction", "data"),
                xytext=(4, 2),
                textcoords="offset points",
                ha="left",
                va="bottom",
                fontsize=look.small,
                color=INK,
            )
        ax.annotate(
            "Spearman\nwith gold",
            (1, 0),
            xycoords=("axes fraction", "data"),
            xytext=(4, 2),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=look.small,
            color=GREY,
        )
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-(len(names) - 1) - 0.3, 1.25)
        ax.set_yticks([-i + 0.12 for i in range(len(names))], [label(n, _NAME) for n in names])
        for tick, name in zip(ax.get_yticklabels(), names, strict=True):
            tick.set(va="bottom" if "\n" not in label(name, _NAME) else "center", linespacing=1.0)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        figure.supxlabel("score of a base sample (base s.d., prompt mean = 0)", fontsize=look.font_size)
    return figure


def _reach(values: dict[str, np.ndarray]) -> float:
    """Half-width of the axis: past all but one sample in 2,000 of every reward, in whole bins."""
    far = max([3.0, *(float(np.quantile(np.abs(v), 0.9995)) for v in values.values() if v.size)])
    return min(_REACH, np.ceil(far))


def _density(v: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(np.clip(v, edges[0] + 1e-9, edges[-1] - 1e-9), edges)
    return np.asarray(counts / max(v.size, 1) / _BIN)


def _row(ax: Any, v: np.ndarray, edges: np.ndarray, base: float, unit: float, colour: Any, z: float, name: str) -> None:
    height = unit * np.sqrt(_density(v, edges))
    ax.stairs(base + height, edges, baseline=base, fill=True, color="white", lw=0, zorder=z)
    ax.stairs(base + height, edges, baseline=base, fill=True, color=colour, alpha=0.45, lw=0, zorder=z)
    stairs = ax.stairs(base + height, edges, baseline=base, color=colour, lw=0.6, zorder=z)
    stairs.set_gid(name)
    ax.plot(edges[[0, -1]], [base, base], color=colour, lw=0.5, zorder=z)
    if v.size:
        marks = np.clip(np.quantile(v, [0.01, 0.5, 0.99]), edges[0], edges[-1])
        ax.plot(marks, np.full(3, base - 0.06), ls="none", marker=2, ms=3, mew=0.9, color=INK, zorder=z + 2)


def _rho(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}".replace("-", "−")

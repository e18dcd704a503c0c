"""A key of rewards and ensembles above a panel, in columns as wide as their names allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D

from alignment_limits.figures.layout import key_columns, key_height
from alignment_limits.figures.style import GREY, Look, label

WIDE = 6.0  # inches from which two panels stand side by side


def columns(names: Sequence[str], look: Look, room: float) -> int:
    """2, or 1 where two columns of these names would not fit into `room` points."""
    return key_columns([label(name, 40) for name in names], look, room, most=2)


def height(names: Sequence[str], look: Look, columns: int) -> float:
    """Inches that the key of these names takes, with its title."""
    return key_height([label(name, 40) for name in names], look, columns, titles=1)


def key(ax: Any, names: Sequence[str], look: Look, ensembles: Sequence[str], title: str, columns: int) -> None:
    """A key above the panel, under the panel's title."""
    handles = [
        Line2D([], [], color=look.colour(n), ls=look.stroke(n, ensemble=n in ensembles), lw=1.3, label=label(n, 40))
        for n in names
    ]
    if handles:
        place(ax, handles, look, title, columns)


def place(ax: Any, handles: Sequence[Any], look: Look, title: str, columns: int) -> None:
    """These handles as a key above the panel."""
    legend = ax.legend(
        handles=handles,
        title=title,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.0,
        labelspacing=0.2,
        handletextpad=0.5,
        borderaxespad=0.0,
        borderpad=0.2,
        alignment="left",
        title_fontproperties={"size": look.small, "weight": "bold"},
    )
    legend.get_title().set_color(GREY)

"""What tests read off a drawn figure: lines by gid, visible texts with their boxes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.text import Text


def line(figure: Any, gid: str, axes: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the line with this gid."""
    (found,) = [x for x in figure.axes[axes].get_lines() if x.get_gid() == gid]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def bars(ax: Any, at: float, horizontal: bool = False) -> list[tuple[float, float]]:
    """Lower and upper ends of the error bars at an x (or, of horizontal ones, at a y)."""
    along, across = (0, 1) if horizontal else (1, 0)
    found = []
    for collection in ax.collections:
        if isinstance(collection, LineCollection):
            for segment in collection.get_segments():
                if (
                    len(segment) == 2
                    and abs(segment[0][across] - at) < 1e-9
                    and segment[0][across] == segment[1][across]
                ):
                    found.append((float(segment[0][along]), float(segment[1][along])))
    return found


def gids(figure: Any) -> set[str]:
    return {a.get_gid() for ax in figure.axes for a in ax.findobj() if a.get_gid()}


def texts(figure: Any) -> list[Any]:
    """Every text that is drawn (tick labels outside the view are not)."""
    if figure.stale:  # since it was drawn
        figure.draw_without_rendering()
    outside = set()
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                inside = low - 1e-9 <= tick.get_loc() <= high + 1e-9
                outside |= {tick.label2} if inside else {tick.label1, tick.label2}
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t for t in found if t not in outside and t.get_window_extent().width > 0]


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes share more than a pixel in both directions."""
    drawn = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    out = []
    for (a, p), (b, q) in itertools.combinations(drawn, 2):
        wide, high = min(p.x1, q.x1) - max(p.x0, q.x0), min(p.y1, q.y1) - max(p.y0, q.y0)
        if wide > 1 and high > 1:
            out.append((a, b))
    return out


def cut_off(figure: Any) -> list[str]:
    """Texts that reach past the edge of the page."""
    page = figure.bbox
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    return [s for s, b in boxes if b.x0 < page.x0 - 1 or b.x1 > page.x1 + 1 or b.y0 < page.y0 - 1 or b.y1 > page.y1 + 1]


def smallest(figure: Any) -> float:
    """Smallest type on the page in points."""
    return min(t.get_fontsize() for t in texts(figure))

"""Names at the ends of lines, at the right of a panel, where there is room for them; elsewhere a key names lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alignment_limits.report.figures.style import GREY, LINE, Look, label, text_width

MOST = 8  # names
SHARE = 0.34  # of the panel's width that names may take
GAP = 7.0  # points between the panel and the names
_NAME = 20  # characters of a line of a name


def fits(names: Sequence[str], look: Look, width: float, height: float) -> bool:
    """Whether names have room at the right of a panel.

    Args:
        width, height: of the panel with its names, in points.
    """
    texts = [label(name, _NAME) for name in names]
    wide = max((text_width(text, look.small) for text in texts), default=0.0) + GAP
    high = sum(1 + text.count("\n") for text in texts) * LINE * look.small
    return 0 < len(names) <= MOST and wide <= SHARE * width and high <= height


def draw(ax: Any, ends: Mapping[str, tuple[float, float]], look: Look, shown: Mapping[str, str] | None = None) -> None:
    """Write each name next to the end of its line, in its colour; a thin line joins both where they are apart.

    Args:
        ax: the panel; its limits are final.
        ends: of the lines, in the panel's data.
        shown: other texts for names.
    """
    ax.figure.draw_without_rendering()  # the layout decides how high the panel is
    height = 72 * ax.get_window_extent().height / ax.figure.dpi
    low, high = ax.get_ylim()
    names = sorted((n for n in ends if np.isfinite(ends[n][1])), key=lambda n: -ends[n][1])
    texts = [label((shown or {}).get(name, name), _NAME) for name in names]
    sizes = np.array([(1 + text.count("\n")) * LINE * look.small / height for text in texts])
    wanted = np.array([1 - (ends[name][1] - low) / (high - low) for name in names])  # from the top
    for name, text, place in zip(names, texts, 1 - apart(wanted, sizes), strict=True):
        note = ax.annotate(
            text, ends[name], xycoords="data", xytext=(1, place), textcoords=ax.transAxes, va="center", ha="left",
            fontsize=look.small, color=look.colour(name), linespacing=1.0, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": 1, "relpos": (0, 0.5)},
        )  # fmt: skip
        note.set_transform(ax.transAxes)
        note.set_gid(f"end:{name}")


def apart(wanted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centres in [0, 1] as near as possible to those wanted, in order, so that boxes of these sizes do not overlap.

    Args:
        wanted: centres in ascending order.
        sizes: of the boxes; together at most 1.

    Example:
        >>> apart(np.array([0.5, 0.5]), np.array([0.2, 0.2])).round(2)
        array([0.4, 0.6])
    """
    if not len(wanted):
        return wanted
    offsets = np.cumsum(sizes) - sizes / 2  # of the centres in a stack
    groups: list[list[float]] = []  # sum and count of what is wanted of the start of each stack
    for start in wanted - offsets:
        groups.append([float(start), 1.0])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    starts = np.concatenate([[total / count] * int(count) for total, count in groups])
    return np.clip(starts, 0.0, max(1.0 - float(sizes.sum()), 0.0)) + offsets

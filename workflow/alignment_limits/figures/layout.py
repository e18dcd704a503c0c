"""How much room texts take, and keys that fit: figures grow with their names, so that panels keep their size."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from alignment_limits.figures.style import Look

LINE = 1.28  # height of a line of a key, in units of the type size
_SAMPLE = 3.6  # width of a key's line sample and the gaps around it, in units of the type size


@functools.lru_cache(maxsize=4096)
def _unit_width(text: str) -> float:
    font, mathematics = FontProperties(family="DejaVu Sans", size=1000), "$" in text.replace(r"\$", "")
    shown = text if mathematics else text.replace(r"\$", "$")
    return float(text_to_path.get_text_width_height_descent(shown, font, mathematics)[0]) / 1000


def text_width(text: str, size: float) -> float:
    """Width in points of the longest line of a text in type of `size` points."""
    return max(_unit_width(line) for line in text.split("\n")) * size if text else 0.0


def key_columns(labels: Sequence[str], look: Look, room: float, most: int = 4) -> int:
    """The most columns (at least 1) in which a key of these labels fits into `room` points."""
    for columns in range(min(most, len(labels)), 1, -1):
        parts = [part for part in np.array_split(np.array(labels, dtype=object), columns) if part.size]
        widths = (max(text_width(str(label), look.small) for label in part) for part in parts)
        if sum(width + (_SAMPLE + 1) * look.small for width in widths) <= room:
            return columns
    return 1


def key_height(labels: Sequence[str], look: Look, columns: int, titles: int = 0) -> float:
    """Height in inches of a key of so many columns, with lines for a title."""
    if not labels:
        return 0.0
    parts = np.array_split(np.array(labels, dtype=object), columns)
    lines = max(sum(1 + str(label).count("\n") for label in part) for part in parts)
    return (LINE * (lines + titles) + 0.8) * look.small / 72


def outside_key(figure: Figure, handles: Sequence[Any], look: Look, *, title: str = "") -> None:
    """A key above the whole figure, which grows by its height."""
    labels = [str(handle.get_label()) for handle in handles]
    columns = key_columns(labels, look, 72 * look.width - look.small, most=len(labels))
    figure.set_figheight(figure.get_figheight() + key_height(labels, look, columns, titles=int(bool(title))))
    extra = {"title": title, "title_fontproperties": {"size": look.small}} if title else {}
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, labelspacing=0.2, columnspacing=1.0, **extra
    )


def fold(text: str, look: Look) -> str:
    """A sentence in small type, broken into lines as wide as the figure."""
    room, lines = 72 * look.width - 2 * look.small, [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, look.small) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)

"""How figures look and how they are saved: size, type, colours, room for texts, keys that fit."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.colors
import numpy as np
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from alignment_limits.errors import ConfigError
from alignment_limits.files import atomic

INK = "#000000"  # gold and the ideal, in every figure
GREY = "#6b6b6b"  # text and lines that are not data
SHADE = "#ececec"  # where nothing should be believed
HATCHED = "#cbdfec"  # the same for the per-prompt budget, as thin strokes
BEST_OF_N = "#d55e00"  # vermillion of Okabe and Ito's colour-blind safe set
PER_PROMPT = "#0072b2"  # blue of the same set
# limits that need samples of policies
POOLED: dict[str, Any] = {"color": INK, "marker": "o", "ms": 3.2, "mfc": "white", "mew": 0.9, "ls": ""}
# bounds of a limit that is not reliable
BOUNDS: dict[str, Any] = {"color": INK, "marker": "_", "ms": 5, "mew": 0.9, "lw": 0.6, "zorder": 2.5}
DASHED = (0, (3, 1.6))  # not reliable, in every figure
ENSEMBLE = (0, (6, 1.2, 1.2, 1.2))  # ensembles, in every figure
# the first of names that have the palette's colours; the others, in turn, of names that have them again, darker
STROKES = {
    False: ("-", (0, (1.2, 0.9)), (0, (0.8, 2.2))),
    True: (ENSEMBLE, (0, (6, 1.2, 1.2, 1.2, 1.2, 1.2)), (0, (10, 1.2, 1.2, 1.2))),
}
MARKS = ("o", "D", "s")
GAIN = "gain in gold\n(base-model s.d.)"  # axes of all figures
KL = "KL from the base model (nats per reply)"
SMALLEST = 6.0  # points; nothing is set smaller than this or the study's own font size
DPI = 300
# seaborn's `colorblind`: importing seaborn takes longer than a figure, so only other palettes do it
COLORBLIND = [
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc",
    "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
]  # fmt: skip
_DISTINCT = (0, 1, 2, 3, 4, 9, 5, 6, 7, 8)  # its two pinks and the grey kept apart


# what seaborn's `axes_style("ticks")` and `plotting_context("paper")` change of matplotlib's defaults
TICKS: dict[str, Any] = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), ".15"),
    "axes.axisbelow": True,
    "grid.color": ".8",
    "legend.title_fontsize": 9.6,
    "lines.markersize": 4.8,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.8,
    "xtick.minor.size": 3.2,
    "xtick.minor.width": 0.8,
    "ytick.minor.size": 3.2,
    "ytick.minor.width": 0.8,
}
Colour = tuple[float, float, float]


def colours(palette: str, count: int | None = None) -> list[Colour]:
    """The colours of a palette as seaborn's `color_palette` has them; default: all.

    Raises:
        ConfigError: seaborn has no such palette.

    Example:
        >>> [tuple(round(part, 2) for part in colour) for colour in colours("colorblind", 2)]
        [(0.0, 0.45, 0.7), (0.87, 0.56, 0.02)]
    """
    if palette == "colorblind":
        turns = itertools.cycle(map(matplotlib.colors.to_rgb, COLORBLIND))
        return list(itertools.islice(turns, len(COLORBLIND) if count is None else count))
    import seaborn

    try:
        return list(seaborn.color_palette(palette, count))
    except ValueError as error:
        raise ConfigError(
            f"figures.palette: '{palette}' is not a seaborn palette ({error}); try 'colorblind'"
        ) from error


@dataclass(frozen=True)
class Look:
    """Size (inches), type (points) and colours of a study's figures.

    `names` are the proxies and ensembles in the study file's order: a name has one colour in all figures.
    """

    width: float = 3.4
    font_size: float = 8
    palette: str = "colorblind"
    gold: str = "gold"
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, p: Mapping[str, Any]) -> Look:
        """From a rule's `params.p`: `figures` (as in the study file), `gold`, and the names to colour.

        Names are `proxies` (or `rewards`, gold among them), then `ensembles`, so that a proxy has the same
        colour whether a figure shows ensembles or not.
        """
        section, gold = p.get("figures", {}), p.get("gold", cls.gold)
        rewards = [name for name in p.get("proxies", p.get("rewards", ())) if name != gold]
        return cls(
            width=section.get("width_inches", cls.width),
            font_size=section.get("font_size", cls.font_size),
            palette=section.get("palette", cls.palette),
            gold=gold,
            names=(*rewards, *p.get("ensembles", ())),
        )

    @property
    def small(self) -> float:
        """Font size of ticks, legends and notes in points."""
        return max(self.font_size - 1.5, min(SMALLEST, self.font_size))

    def colour(self, name: str) -> Any:
        """The one colour of a reward or ensemble; gold is black. Beyond the palette its colours come again, darker.

        Raises:
            ConfigError: seaborn has no such palette.
        """
        if name == self.gold or name not in self.names:
            return INK
        palette = self._colours()
        again, place = divmod(self.names.index(name), len(palette))
        return tuple(part * 0.55**again for part in palette[place])

    def stroke(self, name: str, *, ensemble: bool = False) -> Any:
        """The line style of a reward or an ensemble: with its colour, no other name of the study has it."""
        return STROKES[ensemble][self._turn(name)]

    def mark(self, name: str) -> str:
        """The marker of a reward's or an ensemble's points, to tell those of like colours apart."""
        return MARKS[self._turn(name)]

    def _turn(self, name: str) -> int:
        """0 while the palette has colours; then 1 and 2 in turn, so that neighbours among darker colours differ."""
        place = self.names.index(name) if name in self.names else 0
        return 0 if place < len(self._colours()) else 1 + place % 2

    def _colours(self) -> list[Colour]:
        palette = colours(self.palette)
        return [palette[i] for i in _DISTINCT] if self.palette == "colorblind" else palette

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Seaborn's theme `ticks` at paper scale with this study's type, for the block only."""
        size, small = self.font_size, self.small
        settings = {
            **TICKS,
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same file on every machine
            "mathtext.fontset": "dejavusans",
            "font.size": size,
            "axes.labelsize": size,
            "axes.titlesize": size,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": small,
            "legend.frameon": False,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.2,
            "pdf.fonttype": 42,
            "pdf.compression": 9,
            "hatch.linewidth": 0.5,
            "figure.dpi": 100,
        }
        with matplotlib.rc_context(settings):
            yield

    def figure(self, height: float) -> Figure:
        """An empty figure of this width, `height` inches high, with constrained layout and an Agg canvas."""
        engine = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0.0, wspace=0.0)
        figure = Figure(figsize=(self.width, height), layout=engine)
        FigureCanvasAgg(figure)
        return figure


def label(name: str, width: int = 18) -> str:
    """A reward's name for a figure, broken at `-`, `_`, `/` or `.` (not within numbers) when longer than `width`."""
    lines = [""]
    for part in re.split(r"(?<=[-_/])|(?<=\.)(?!\d)", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines).replace("$", r"\$")


def order(names: Sequence[str], key: Mapping[str, float]) -> list[str]:
    """Names from the highest value of `key` to the lowest; unknown and NaN last, ties as given."""

    def rank(name: str) -> float:
        value = key.get(name, float("nan"))
        return -value if value == value else float("inf")

    return sorted(names, key=rank)


MADE_BY = "alignment-limits"


def is_own_figure(path: Path) -> bool:
    """Whether `save` wrote a file."""
    return MADE_BY.encode() in path.read_bytes()


def save(figure: Figure, look: Look, *paths: str | Path) -> None:
    """Write a figure as PDF (embedded TrueType) and PNG (300 dpi), complete or not at all.

    The bytes depend on the figure alone: no dates, no versions. They name this project, so that a command can tell
    its own figures from a user's files.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
        ValueError: a path ends in neither `.pdf` nor `.png`.
    """
    metadata: dict[str, dict[str, Any]] = {
        ".pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": MADE_BY},
        ".png": {"Software": None, "Author": MADE_BY},
    }
    for path in map(Path, paths):
        if path.suffix not in metadata:
            raise ValueError(f"{path}: figures are saved as .pdf or .png")
        with look.applied(), _plain_fonts(), atomic(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=DPI, metadata=metadata[path.suffix])
        figure.set_layout_engine("none")  # the next format has the places of the first


@contextlib.contextmanager
def _plain_fonts() -> Iterator[None]:
    """Embedded fonts without tables of ligatures and kerning: no PDF uses them, and they take most of the time."""
    from fontTools.subset import Options

    kept: list[str] = Options._drop_tables_default
    Options._drop_tables_default = [*kept, "GDEF", "GPOS", "GSUB", "kern"]
    try:
        yield
    finally:
        Options._drop_tables_default = kept


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
    """The largest number of columns (at least 1) in which a key of these labels fits into `room` points."""
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
    """A key above the figure, which grows by its height."""
    labels = [str(handle.get_label()) for handle in handles]
    columns = key_columns(labels, look, 72 * look.width - look.small, most=len(labels))
    figure.set_figheight(figure.get_figheight() + key_height(labels, look, columns, titles=int(bool(title))))
    extra = {"title": title, "title_fontproperties": {"size": look.small}} if title else {}
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, labelspacing=0.2, columnspacing=1.0, **extra
    )


def fold(text: str, look: Look, room: float = math.inf) -> str:
    """A sentence in small type, broken into lines of at most `room` points and as wide as the figure at most."""
    room, lines = min(room, 72 * look.width - 2 * look.small), [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, look.small) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def no_estimate(rows: pl.DataFrame, quantity: str) -> str:
    """That none of a figure's estimates is reliable, and the most frequent reason."""
    own = f"{quantity}_reason"
    column = own if own in rows.columns else "reason"
    reasons = rows[column].drop_nulls() if column in rows.columns else pl.Series([], dtype=pl.String)
    reasons = reasons.filter(reasons != "")
    why = f" Reason: {reasons.mode().sort()[0]}." if len(reasons) else ""
    return f"No estimate here is reliable.{why}"


def nothing_reliable(ax: Any, rows: pl.DataFrame, quantity: str, look: Look) -> None:
    """Say that none of a panel's estimates is reliable, and the most frequent reason.

    The text is at the top left, where curves of gain leave room.
    """
    text = fold(no_estimate(rows, quantity), look, room=0.42 * 72 * look.width)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    note = ax.text(
        0.03, 0.97, text, transform=ax.transAxes, ha="left", va="top", fontsize=look.small, color=INK, bbox=box,
        zorder=7,
    )  # fmt: skip
    note.set_gid("nothing reliable")


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


def panel_title(ax: Any, title: str, look: Look) -> None:
    """A panel's title where no key has it."""
    if title:
        ax.set_title(title, loc="left", fontsize=look.small, fontweight="bold", color=GREY, pad=3)


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

"""Figures in a reward's own units: the same picture, with other numbers at its axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import AutoLocator, FuncFormatter

from alignment_limits.report.figures.style import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SD = "base-model s.d."  # of a label, where an axis is in base standard deviations
_WIDTHS = (18, 22, 24, 30, 40)  # of names in labels


class _Scaled(AutoLocator):
    """Ticks at round numbers of `factor` times the axis."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def tick_values(self, vmin: float, vmax: float) -> Any:
        return np.asarray(super().tick_values(vmin * self.factor, vmax * self.factor)) / self.factor


def in_raw_units(figure: Figure, scales: Mapping[str, float], reward: str) -> None:
    """Give every axis in base standard deviations the units of its reward. Nothing that is drawn moves.

    An axis is recognised by its label. The reward is the one that the label or the panel's title names, or `reward`.

    Args:
        figure: is changed.
        scales: of each reward, its own units in one base standard deviation.
        reward: the one that labels call gold.
    """
    changed = False
    for ax in figure.axes:
        _reword_bounds(ax.get_legend(), scales)
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            text = axis.get_label_text()
            if SD in text:
                name = _named(text, ax.get_title(loc="left"), scales, reward)
                axis.set_label_text(_worded(text, name, reward, scales))
                changed |= _convert(axis, scales.get(name))
    if SD in (shared := figure.get_supylabel()):  # of all panels
        figure.supylabel(_worded(shared, reward, reward, scales), fontsize=figure._supylabel.get_fontsize())  # type: ignore[attr-defined]
        for ax in figure.axes:
            changed |= _convert(ax.yaxis, scales.get(reward))
    if changed:
        for entry in _texts(figure):
            if entry.get_text().startswith(r"$\sqrt{2"):
                entry.set_text(entry.get_text().replace(r"$\sqrt", r"$\sigma\sqrt"))
            elif reward in scales and (beta := re.fullmatch(r"β = ([\d.]+)", entry.get_text())):
                entry.set_text(f"β = {float(beta[1]) * scales[reward]:.3g}")


def _reword_bounds(legend: Any, scales: Mapping[str, float]) -> None:
    """Bounds of a constraint, in the units of the constrained reward, which the key's title names."""
    title = legend.get_title().get_text() if legend is not None else ""
    name = next((n for n in scales if any(title.endswith(f"change of {label(n, width)}") for width in _WIDTHS)), None)
    if name is None:
        return
    for entry in legend.get_texts():
        if bound := re.fullmatch(r"at most ([−\d.e+]+) s\.d\.", entry.get_text()):
            value = float(bound[1].replace("−", "-")) * scales[name]
            entry.set_text(f"at most {value:.3g}".replace("-", "−"))


def _named(text: str, title: str, scales: Mapping[str, float], default: str) -> str:
    """The reward that a label ("gain in X", or "X") or a panel's title names; otherwise `default`."""
    before = text.partition(f"\n({SD})")[0]
    said = {before, before.removeprefix("gain in "), title}
    return next((name for name in scales if any(label(name, width) in said for width in _WIDTHS)), default)


def _worded(text: str, name: str, gold: str, scales: Mapping[str, float]) -> str:
    scale = scales.get(name)
    if scale is None:
        return text

    def beta(match: re.Match[str]) -> str:
        return f"β = {float(match[1]) * scale:.3g}"

    shown = "gold" if name == gold and "gold" in text else label(name, 22)
    return re.sub(r"β = ([\d.]+)", beta, text).replace(SD, f"units of {shown}")


def _convert(axis: Any, scale: float | None) -> bool:
    if scale is None or not isinstance(axis.get_major_locator(), AutoLocator):
        return False
    axis.set_major_locator(_Scaled(scale))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x * scale:g}"))
    return True


def _texts(figure: Figure) -> Iterator[Any]:
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
        if legend is not None:
            yield from legend.get_texts()

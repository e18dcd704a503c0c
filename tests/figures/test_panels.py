"""Studies side by side: one scale, each with its own gold, best-of-n and proxies."""

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, line, overlaps

from alignment_limits.report.figures.methods import Panel, panels
from alignment_limits.report.figures.style import INK, Look

PROXIES = tuple(synthetic.RHO)


@pytest.fixture(scope="module")
def figure():
    first = Panel("one", synthetic.frontier(), synthetic.best_of_n(), "gold", PROXIES)
    fewer = synthetic.frontier().filter(pl.col("optimized").is_in(["gold", "vader"]))
    return panels([first, Panel("two", fewer, synthetic.best_of_n(), "gold", ("vader",))], Look(width=6.8))


def test_each_panel_shows_its_own_limit_proxies_and_best_of_n(figure):
    first, second = ({a.get_gid() for a in ax.get_lines()} for ax in figure.axes)
    assert {"gold", "best-of-4", *PROXIES} <= first
    assert {"gold", "best-of-4", "vader"} <= second
    assert "minilm" not in second
    for axes in (0, 1):
        x, y = line(figure, "gold", axes)
        assert y[np.flatnonzero(x == 1.0)[0]] == pytest.approx(np.sqrt(2))
        x, y = line(figure, "vader", axes)
        assert y[np.flatnonzero(x == 1.0)[0]] == pytest.approx(synthetic.RHO["vader"] * np.sqrt(2) - 0.2)


def test_panels_share_one_scale_and_gold_is_black(figure):
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim()
    assert first.get_xlim() == second.get_xlim()
    for ax in figure.axes:
        (gold,) = [a for a in ax.get_lines() if a.get_gid() == "gold"]
        assert gold.get_color() == INK


def test_nothing_is_cut_off(figure):
    assert not cut_off(figure)
    assert not [pair for pair in overlaps(figure) if not all(text.split()[-1].isdigit() for text in pair)]

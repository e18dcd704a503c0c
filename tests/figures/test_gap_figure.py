"""The figure of a gap's parts says what the table says."""

import numpy as np
import polars as pl
import pytest
from reading import overlaps, texts

from alignment_limits.report.figures.gaps import gap
from alignment_limits.report.figures.style import Look

VALUES = {"generalisation": 0.2, "expressibility": 0.05, "objective": 0.0, "optimisation": np.nan, "rest": -0.1}


def table():
    rows = []
    for name, ended in (("grpo-gold-1-s0", "converged"), ("ppo-gold-1-s0", "cut short")):
        for part, value in VALUES.items() | {("total", 0.15)}:
            rows.append(
                {
                    "policy": name,
                    "ended": ended,
                    "part": part,
                    "value": value,
                    "low": 0.1,
                    "high": 0.25,
                    "reliable": True,
                }
            )
    return pl.DataFrame(rows)


def test_parts_are_stacked_on_both_sides_of_zero():
    figure = gap(table(), Look())
    (ax,) = figure.axes
    bars = {bar.get_gid(): bar for bar in ax.patches}
    of = "grpo-gold-1-s0"
    assert bars[f"generalisation:{of}"].get_width() == pytest.approx(0.2)
    assert bars[f"generalisation:{of}"].get_x() == 0
    assert bars[f"expressibility:{of}"].get_x() == pytest.approx(0.2)
    assert bars[f"rest:{of}"].get_width() == pytest.approx(-0.1)
    assert bars[f"rest:{of}"].get_x() == 0
    assert not {f"objective:{of}", f"optimisation:{of}"} & bars.keys()
    (total,) = [x for x in ax.get_lines() if x.get_gid() == f"total:{of}"]
    assert total.get_xdata()[0] == pytest.approx(0.15)


def test_a_run_that_was_cut_short_says_so_and_nothing_overlaps():
    figure = gap(table(), Look())
    said = {t.get_text() for t in texts(figure)}
    assert {"ppo-gold-1-s0 (cut short)", "grpo-gold-1-s0"} <= said
    assert not overlaps(figure)

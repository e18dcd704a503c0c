"""The ensemble figure shows the table's numbers."""

import polars as pl
import pytest

from alignment_limits.figures.ensemble_gap import ensemble_gap
from alignment_limits.figures.style import Look


@pytest.fixture
def table():
    """Gaps 1/K of the mean and 2/K of the minimum over two subsets that differ by 10 %."""
    rows = [
        {"aggregator": a, "k": k, "beta": b, "gap": f * s / k, "gap_predicted": 1.2 / k, "gap_floor": 0.2}
        for a, f in (("mean", 1.0), ("minimum", 2.0))
        for k in (1, 2, 3)
        for s in (0.9, 1.1)
        for b in (1.0, 2.0)
        if not (a == "minimum" and k == 1)
    ]
    return pl.DataFrame(rows)


def test_lines_pass_through_the_means_over_subsets(table):
    axes = ensemble_gap(table, Look(), beta=1.0).axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert lines["mean"] == pytest.approx([1, 1 / 2, 1 / 3])
    assert lines["minimum"] == pytest.approx([1, 2 / 2, 2 / 3]), "single members stand for every aggregator"
    assert lines["predicted, mean"] == pytest.approx([1.2, 0.6, 0.4])
    assert lines["predicted floor"] == pytest.approx([0.2, 0.2])


def test_only_the_chosen_temperature_is_drawn(table):
    other = table.with_columns(gap=pl.when(pl.col("beta") == 2.0).then(99.0).otherwise("gap"))
    assert ensemble_gap(other, Look(), beta=1.0).axes[0].get_ylim()[1] < 10

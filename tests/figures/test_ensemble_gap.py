"""The ensemble figure shows the table's numbers."""

import polars as pl
import pytest
from reading import bars

from alignment_limits.report.figures.rewards import ensemble_gap
from alignment_limits.report.figures.style import Look


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


def heights(axes):
    return {line.get_gid(): list(line.get_ydata()) for line in axes.get_lines() if line.get_gid()}


def test_lines_pass_through_the_means_over_subsets(table):
    lines = heights(ensemble_gap(table, Look(), beta=1.0).axes[0])
    assert lines["mean"] == pytest.approx([1, 1 / 2, 1 / 3])
    assert lines["minimum"] == pytest.approx([1, 2 / 2, 2 / 3]), "single members stand for every aggregator"
    assert lines["predicted"] == pytest.approx([1.2, 0.6, 0.4])
    assert lines["floor"] == pytest.approx([0.2, 0.2])


def test_the_span_is_from_the_least_to_the_largest_subset(table):
    """Three subsets, of which two lie low: their mean is not in the middle."""
    third = (pl.col("aggregator") == "mean") & (pl.col("k") == 3) & (pl.col("beta") == 1)
    subsets = pl.concat([table.filter(third).head(1)] * 3).with_columns(gap=pl.Series([0.3, 0.9, 0.3]))
    gaps = pl.concat([table.filter(~third), subsets])
    drawn = ensemble_gap(gaps, Look(), beta=1.0)
    assert bars(drawn.axes[0], 3 - 0.12) == [pytest.approx((0.3, 0.9))]
    assert heights(drawn.axes[0])["mean"][2] == pytest.approx(0.5)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_size_with_a_subset_that_is_not_reliable_is_hollow_and_dashed(table, lost):
    one = (pl.col("k") == 3) & (pl.col("aggregator") == "mean")
    bad = {0: pl.lit(False), 1: one & (pl.col("gap") < 1 / 3), 2: one}[lost]
    drawn = ensemble_gap(table.with_columns(reliable=~bad), Look(), beta=1.0)
    hollow = heights(drawn.axes[0])["mean:unreliable"]
    assert hollow == ([] if lost == 0 else [pytest.approx(1 / 3)])
    assert heights(drawn.axes[0])["minimum:unreliable"] == []
    dashed = [a for a in drawn.axes[0].get_lines() if a.get_gid() is None and a.is_dashed()]
    assert [list(a.get_ydata()) for a in dashed] == ([] if lost == 0 else [pytest.approx([1 / 2, 1 / 3])])
    said = "not reliable" in {t.get_text() for t in drawn.legends[0].get_texts()}
    assert said == (lost > 0)


def test_only_the_chosen_temperature_is_drawn(table):
    other = table.with_columns(gap=pl.when(pl.col("beta") == 2.0).then(99.0).otherwise("gap"))
    assert ensemble_gap(other, Look(), beta=1.0).axes[0].get_ylim()[1] < 10

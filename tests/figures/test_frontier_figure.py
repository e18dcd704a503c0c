"""The frontier figure says what the tables say."""

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, smallest, texts

from alignment_limits.figures.frontier import frontier
from alignment_limits.figures.style import Look

LOOK = Look(names=(*synthetic.RHO, *synthetic.ENSEMBLES))


@pytest.fixture(scope="module")
def figure():
    return frontier(synthetic.frontier(), synthetic.best_of_n(), LOOK)


def words(figure):
    return " ".join(t.get_text() for t in texts(figure))


def test_line_passes_through_the_tables_points(figure):
    x, y = line(figure, "average")
    for kl in (k for k in synthetic.KLS if k <= 2):
        assert y[np.flatnonzero(x == kl)[0]] == pytest.approx(np.sqrt(2 * kl))
    _, y = line(figure, "per-prompt")
    assert np.nanmax(y) == pytest.approx(0.93 * 2)


def test_unreliable_part_is_dashed_shaded_and_named(figure):
    x, _ = line(figure, "average:unreliable")
    assert (np.nanmin(x), np.nanmax(x)) == (2.0, 2.5)
    (dashed,) = [a for a in figure.axes[0].get_lines() if a.get_gid() == "average:unreliable"]
    assert dashed.is_dashed()
    (span,) = [p for p in figure.axes[0].patches if p.get_gid() == "unreliable"]
    assert span.get_x() == 2.0
    assert span.get_x() + span.get_width() == pytest.approx(figure.axes[0].get_xlim()[1])
    assert "not reliable" in words(figure)


def test_nothing_is_shaded_when_all_is_reliable():
    drawn = frontier(synthetic.frontier(reach=9, unreachable=9), synthetic.best_of_n(), LOOK)
    assert "unreliable" not in gids(drawn)
    assert "not reliable" not in words(drawn)


def test_ceiling_stands_at_log_m(figure):
    x, _ = line(figure, "ceiling")
    assert x[0] == pytest.approx(np.log(64))


def test_a_ceiling_far_off_is_named_not_drawn():
    drawn = frontier(synthetic.frontier().with_columns(log_m=pl.lit(9.0)), synthetic.best_of_n().clear(), LOOK)
    assert "ceiling" not in gids(drawn)
    assert "9.0" in words(drawn)


def test_bound_is_sigma_root_two_kl():
    x, y = line(frontier(synthetic.frontier(), synthetic.best_of_n(), LOOK, sigma=1.5), "bound")
    np.testing.assert_allclose(y, 1.5 * np.sqrt(2 * x))


def test_best_of_n_points_are_where_the_table_puts_them(figure):
    for n in (2, 4, 8, 16, 32, 64):
        x, y = line(figure, f"best-of-{n}")
        assert x[0] == pytest.approx(np.log(n) - (n - 1) / n)
        assert y[0] == pytest.approx(0.95 * 0.93 * synthetic.expected_max(n))
    assert "best-of-1" not in gids(figure)


def test_unreliable_best_of_n_is_paler(figure):
    alpha = {a.get_gid(): a.get_alpha() for a in figure.axes[0].get_lines()}
    assert alpha["best-of-8"] == 1
    assert alpha["best-of-16"] < 0.5


def test_shares_of_both_budgets_are_below(figure):
    _, average = line(figure, "share:average:4", axes=1)
    _, own = line(figure, "share:per-prompt:4", axes=1)
    assert own[0] / average[0] == pytest.approx(1 / 0.93)


def test_without_best_of_n_there_is_one_panel():
    assert len(frontier(synthetic.frontier(), synthetic.best_of_n().clear(), LOOK).axes) == 1


@pytest.mark.parametrize("reach", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("unreachable", [0.0, 0.2, 3.0])
def test_any_reach_is_drawn_without_a_word_over_another(reach, unreachable):
    table = synthetic.frontier(reach=reach, unreachable=unreachable)
    drawn = frontier(table, synthetic.best_of_n(), LOOK)
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9), (3.4, 7)])
def test_readable(width, size):
    drawn = frontier(synthetic.frontier(), synthetic.best_of_n(), Look(width=width, font_size=size))
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def test_missing_intervals_and_shares_do_not_stop_it():
    columns = ["gain_low", "gain_high", "efficiency", "efficiency_low", "efficiency_high"]
    points = synthetic.best_of_n().with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in columns)
    table = synthetic.frontier().with_columns(pl.lit(np.nan).alias(c) for c in ("gain_low", "gain_high"))
    assert overlaps(frontier(table, points, LOOK)) == []

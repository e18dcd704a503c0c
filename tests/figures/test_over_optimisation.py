"""Over-optimisation: fits over their own range, dashed where they miss, peaks only where found, "none" elsewhere."""

import math

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, smallest

from alignment_limits.report.figures.over_optimisation import over_optimisation
from alignment_limits.report.figures.style import Look

PROXIES, ENSEMBLES = list(synthetic.RHO), list(synthetic.ENSEMBLES)
LOOK = Look(names=(*PROXIES, *ENSEMBLES))
TABLES = synthetic.over_optimisation(), synthetic.frontier(), synthetic.best_of_n()

BEST_OF_N, ONSET = 1, 2  # axes: the tilt, best-of-n, then the rows' columns


@pytest.fixture(scope="module")
def figure():
    return over_optimisation(*TABLES, LOOK, proxies=PROXIES, ensembles=ENSEMBLES)


def test_the_fit_is_the_tables_and_goes_no_further(figure):
    x, y = line(figure, "fit:vader", BEST_OF_N)
    np.testing.assert_allclose([x[0], x[-1]], [0.2, 2.5])
    np.testing.assert_allclose(y, 1.4 * 0.3 * np.sqrt(x) - 0.1 * x)
    x, y = line(figure, "fit:vader")
    np.testing.assert_allclose(y, np.sqrt(x) * (1.4 * 0.3 - 0.1 * np.log(np.sqrt(x))))


def test_a_fit_that_misses_is_dashed_and_thin(figure):
    lines = {a.get_gid(): a for a in figure.axes[0].get_lines()}
    assert lines["fit:minilm"].is_dashed()
    assert not lines["fit:vader"].is_dashed()
    assert lines["fit:minilm"].get_linewidth() < lines["fit:vader"].get_linewidth()


def test_a_stopping_point_stands_at_the_kl_of_its_n_only_where_found(figure):
    assert {g for g in gids(figure) if g.startswith("peak:")} == {"peak:vader"}
    x, y = line(figure, "peak:vader", BEST_OF_N)
    assert np.log(4) - 3 / 4 < x[0] < np.log(8) - 7 / 8
    assert y[0] == 0.2


def test_hacking_onset_stands_at_its_kl_only_where_found(figure):
    x, y = line(figure, "peak:vader")
    assert (x[0], y[0]) == (0.5, 0.2)


def test_points_are_gold_under_each_proxy(figure):
    _, y = line(figure, "minilm", BEST_OF_N)
    assert y[0] == pytest.approx(0.95 * 0.93 * 0.5 * synthetic.expected_max(2))
    x, y = line(figure, "minilm")
    assert y[x == 1.0] == pytest.approx(0.5 * np.sqrt(2))


def test_unreliable_gold_is_not_drawn(figure):
    frontier = synthetic.frontier()
    most = frontier.filter((pl.col("optimized") == "minilm") & (pl.col("at") == "kl") & pl.col("reliable"))["kl"].max()
    assert line(figure, "minilm")[0].max() == most < frontier["kl"].max()


def said(figure):
    """What the rows say of the onset, in order; names may stand there, too."""
    return [t.get_text() for t in figure.axes[ONSET].texts if t.get_text() not in LOOK.names]


def test_rows_say_none_and_how_far_or_show_the_peak(figure):
    assert said(figure) == ["no peak to 2"] * (len(PROXIES) + len(ENSEMBLES) - 1)
    assert line(figure, "where:tilt:vader", ONSET)[0] == 0.5
    assert line(figure, "where:best-of-n:vader", ONSET + 1)[0] == 5.0


def test_a_path_that_cannot_be_judged_is_unknown_not_none():
    fits = TABLES[0].with_columns(end=pl.when(pl.col("optimized") == "minilm").then(math.nan).otherwise("end"))
    drawn = over_optimisation(fits, *TABLES[1:], LOOK, proxies=["minilm"])
    assert said(drawn) == ["unknown"]


def test_a_fall_without_a_place_says_falls():
    fits = TABLES[0].with_columns(found=False)
    drawn = over_optimisation(fits, *TABLES[1:], LOOK, proxies=["minilm", "vader"])
    assert set(said(drawn)) == {"no peak to 2", "falls"}


def test_rows_have_the_coefficients_and_a_misfit_is_hollow(figure):
    marks = {a.get_gid(): a for ax in figure.axes for a in ax.get_lines()}
    for path in ("tilt", "best-of-n"):
        assert marks[f"alpha:{path}:vader"].get_xdata()[0] == pytest.approx(1.4 * 0.3)
        assert marks[f"beta:{path}:vader"].get_xdata()[0] == 0.1
        assert marks[f"beta:{path}:vader"].get_markerfacecolor() == LOOK.colour("vader")
        assert marks[f"beta:{path}:minilm"].get_markerfacecolor() == "white"


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9)])
def test_readable(width, size):
    look = Look(width=width, font_size=size, names=LOOK.names)
    drawn = over_optimisation(*TABLES, look, proxies=PROXIES, ensembles=ENSEMBLES)
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


@pytest.mark.parametrize("names", [["vader", "mean"], PROXIES])
@pytest.mark.parametrize("width", [3.4, 7.0])
def test_what_a_row_says_stays_in_its_column(width, names):
    """Its white ground would hide the names beside it."""
    look = Look(width=width, names=tuple(names))
    fits = TABLES[0].with_columns(optimized=pl.col("optimized").replace({"mean-of-all": "mean"}))
    drawn = over_optimisation(fits, *TABLES[1:], look, proxies=names)
    drawn.canvas.draw()
    for ax in drawn.axes[ONSET : ONSET + 2]:
        column = ax.get_window_extent()
        for text in (t for t in ax.texts if t.get_text().startswith("no peak")):
            box = text.get_window_extent()
            assert column.x0 - 1 <= box.x0, text.get_text()
            assert box.x1 <= column.x1 + 1, text.get_text()


@pytest.mark.filterwarnings("error")
def test_without_proxies_ensembles_or_rows_it_still_draws():
    empty = [table.clear() for table in TABLES]
    for tables, names in ((TABLES, PROXIES), (TABLES, []), (empty, PROXIES)):
        drawn = over_optimisation(*tables, LOOK, proxies=names)
        drawn.canvas.draw()
        assert len(drawn.axes) == 6


def test_a_triangle_stands_only_where_the_fall_is_significant():
    """The estimate falls, its interval does not exclude zero."""
    noise = TABLES[0].with_columns(found=True, drop=0.1, drop_low=-0.05)
    drawn = over_optimisation(noise, *TABLES[1:], LOOK, proxies=PROXIES)
    assert not {g for g in gids(drawn) if g.startswith(("peak:", "where:"))}
    assert set(said(drawn)) == {"no peak to 2"}

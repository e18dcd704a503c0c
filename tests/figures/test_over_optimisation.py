"""Over-optimisation: fits over their own range, dashed where they miss, peaks only where found, words elsewhere."""

import math

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, smallest

from alignment_limits.report.figures.over_optimisation import selected, tilted
from alignment_limits.report.figures.style import Look

PROXIES, ENSEMBLES = list(synthetic.RHO), list(synthetic.ENSEMBLES)
LOOK = Look(names=(*PROXIES, *ENSEMBLES))
FITS = synthetic.over_optimisation()
PEAK = 1  # axes: the curves, then the rows' columns
METHODS = {"tilt": (tilted, synthetic.frontier()), "best-of-n": (selected, synthetic.best_of_n())}
METHOD = pytest.mark.parametrize("method", METHODS)


def draw(method, fits=FITS, look=LOOK, points=None, **names):
    function, table = METHODS[method]
    return function(fits, table if points is None else points, look, **names or {"proxies": PROXIES})


@pytest.fixture(scope="module")
def tilt():
    return draw("tilt", proxies=PROXIES, ensembles=ENSEMBLES)


@pytest.fixture(scope="module")
def best_of_n():
    return draw("best-of-n", proxies=PROXIES, ensembles=ENSEMBLES)


def test_the_fit_is_the_tables_and_goes_no_further(tilt, best_of_n):
    x, y = line(best_of_n, "fit:vader")
    np.testing.assert_allclose([x[0], x[-1]], [0.2, 2.5])
    np.testing.assert_allclose(y, 1.4 * 0.3 * np.sqrt(x) - 0.1 * x)
    x, y = line(tilt, "fit:vader")
    np.testing.assert_allclose(y, np.sqrt(x) * (1.4 * 0.3 - 0.1 * np.log(np.sqrt(x))))


def test_a_fit_that_misses_is_dashed_and_thin(tilt):
    lines = {a.get_gid(): a for a in tilt.axes[0].get_lines()}
    assert lines["fit:minilm"].is_dashed()
    assert not lines["fit:vader"].is_dashed()
    assert lines["fit:minilm"].get_linewidth() < lines["fit:vader"].get_linewidth()


def test_a_stopping_point_stands_at_the_kl_of_its_n_only_where_found(best_of_n):
    assert {g for g in gids(best_of_n) if g.startswith("peak:")} == {"peak:vader"}
    x, y = line(best_of_n, "peak:vader")
    assert np.log(4) - 3 / 4 < x[0] < np.log(8) - 7 / 8
    assert y[0] == 0.2


def test_hacking_onset_stands_at_its_kl_only_where_found(tilt):
    x, y = line(tilt, "peak:vader")
    assert (x[0], y[0]) == (0.5, 0.2)


def test_points_are_gold_under_each_proxy(tilt, best_of_n):
    _, y = line(best_of_n, "minilm")
    assert y[0] == pytest.approx(0.95 * 0.93 * 0.5 * synthetic.expected_max(2))
    x, y = line(tilt, "minilm")
    assert y[x == 1.0] == pytest.approx(0.5 * np.sqrt(2))


def test_unreliable_gold_is_not_drawn(tilt):
    frontier = synthetic.frontier()
    most = frontier.filter((pl.col("optimized") == "minilm") & (pl.col("at") == "kl") & pl.col("reliable"))["kl"].max()
    assert line(tilt, "minilm")[0].max() == most < frontier["kl"].max()


def said(figure):
    """What the rows say of the peak, in order; names are there, too."""
    return [t.get_text() for t in figure.axes[PEAK].texts if t.get_text() not in LOOK.names]


def test_rows_say_how_far_no_peak_was_found_or_show_the_peak(tilt, best_of_n):
    others = len(PROXIES) + len(ENSEMBLES) - 1
    assert said(tilt) == ["no peak up to 2 nats"] * others
    assert said(best_of_n) == ["no peak up to 64 draws"] * others
    assert line(tilt, "where:vader", PEAK)[0] == 0.5
    assert line(best_of_n, "where:vader", PEAK)[0] == 5.0


@METHOD
def test_a_path_that_cannot_be_judged_is_not_reliable_rather_than_without_peak(method):
    fits = FITS.with_columns(end=pl.when(pl.col("optimized") == "minilm").then(math.nan).otherwise("end"))
    assert said(draw(method, fits, proxies=["minilm"])) == ["not reliable"]


def test_a_fall_without_a_place_and_a_fall_from_the_start_are_different():
    fits = FITS.with_columns(found=False)
    drawn = draw("tilt", fits, proxies=["minilm", "vader"])
    assert set(said(drawn)) == {"no peak up to 2 nats", "falls, place unknown"}
    opposed = draw("tilt", synthetic.over_optimisation(opposed=("minilm",)), proxies=["minilm"])
    assert said(opposed) == ["falls from the start"]


@METHOD
def test_a_panel_where_nothing_is_reliable_says_so_with_the_reason(method):
    _, points = METHODS[method]
    why = "only 8 prompts (needs 16)"
    few = points.with_columns(
        pl.lit(False).alias(c) if c.endswith("reliable") else pl.lit(why).alias(c)
        for c in points.columns
        if c.endswith(("reliable", "reason"))
    )
    notes = [t.get_text().replace("\n", " ") for t in draw(method, points=few).axes[0].texts]
    assert notes == [f"No estimate here is reliable. Reason: {why}."]
    assert not draw(method).axes[0].texts


@METHOD
def test_rows_have_the_coefficients_and_a_misfit_is_hollow(method):
    marks = {a.get_gid(): a for ax in draw(method).axes for a in ax.get_lines()}
    assert marks["alpha:vader"].get_xdata()[0] == pytest.approx(1.4 * 0.3)
    assert marks["beta:vader"].get_xdata()[0] == 0.1
    assert marks["beta:vader"].get_markerfacecolor() == LOOK.colour("vader")
    assert marks["beta:minilm"].get_markerfacecolor() == "white"


@METHOD
@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9)])
def test_readable(method, width, size):
    look = Look(width=width, font_size=size, names=LOOK.names)
    drawn = draw(method, look=look, proxies=PROXIES, ensembles=ENSEMBLES)
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


@METHOD
@pytest.mark.parametrize("names", [["vader", "mean"], PROXIES])
@pytest.mark.parametrize("width", [3.4, 7.0])
def test_what_a_row_says_stays_in_its_column(method, width, names):
    """Its white ground would hide what is next to it."""
    look = Look(width=width, names=tuple(names))
    fits = FITS.with_columns(optimized=pl.col("optimized").replace({"mean-of-all": "mean"}))
    drawn = draw(method, fits, look, proxies=names)
    drawn.canvas.draw()
    column = drawn.axes[PEAK].get_window_extent()
    for text in (t for t in drawn.axes[PEAK].texts if t.get_text().startswith("no peak")):
        box = text.get_window_extent()
        assert column.x0 - 1 <= box.x0, text.get_text()
        assert box.x1 <= column.x1 + 1, text.get_text()


@METHOD
@pytest.mark.filterwarnings("error")
def test_without_proxies_ensembles_or_rows_it_still_draws(method):
    function, points = METHODS[method]
    for fits, table, names in ((FITS, points, PROXIES), (FITS, points, []), (FITS.clear(), points.clear(), PROXIES)):
        drawn = function(fits, table, LOOK, proxies=names)
        drawn.canvas.draw()
        assert len(drawn.axes) == 4


@METHOD
def test_a_triangle_stands_only_where_the_fall_is_significant(method):
    """The estimate falls, its interval does not exclude zero."""
    drawn = draw(method, FITS.with_columns(found=True, drop=0.1, drop_low=-0.05))
    assert not {g for g in gids(drawn) if g.startswith(("peak:", "where:"))}
    assert all(text.startswith("no peak up to") for text in said(drawn))

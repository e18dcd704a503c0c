"""Win rate against KL: the tables' points, in their colours, under the closed-form ceiling."""

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, smallest

from alignment_limits.figures.style import INK, Look
from alignment_limits.figures.win_rate import most, win_rate

PROXIES, ENSEMBLES = list(synthetic.RHO), list(synthetic.ENSEMBLES)
LOOK = Look(names=(*PROXIES, *ENSEMBLES))
TABLE = pl.concat([synthetic.best_of_n(), synthetic.relatives()], how="diagonal")


@pytest.fixture(scope="module")
def figure():
    return win_rate(TABLE, LOOK, proxies=PROXIES, ensembles=ENSEMBLES)


def test_golds_best_of_n_wins_n_of_n_plus_one(figure):
    n = np.array([1, 2, 4, 8, 16, 32])
    x, y = line(figure, "gold")
    np.testing.assert_allclose(x, np.log(n) - (n - 1) / n, atol=1e-12)
    np.testing.assert_allclose(y, n / (n + 1))


def test_each_proxy_has_its_colour_and_its_points(figure):
    (dots,) = [a for a in figure.axes[0].get_lines() if a.get_gid() == "vader"]
    assert dots.get_color() == LOOK.colour("vader")
    assert dots.get_ydata()[1] == pytest.approx(0.5 + 0.3 * (2 / 3 - 0.5))
    assert set(ENSEMBLES) <= gids(figure)


def test_the_ceiling_is_above_every_best_of_n(figure):
    x, y = line(figure, "ceiling")
    kl, wins = line(figure, "gold")
    assert np.all(np.interp(np.sqrt(kl), np.sqrt(x), y) >= wins - 1e-3)
    np.testing.assert_allclose(y[0], 0.5)


def test_ways_of_choosing_have_a_panel_with_a_curve_per_temperature(figure):
    names = {a.get_gid() for a in figure.axes[1].get_lines()}
    assert {"best-of-n", "soft, temperature 0.5", "soft, temperature 1", "best-of-poisson", "chi2-pessimism"} <= names
    (gold,) = [a for a in figure.axes[1].get_lines() if a.get_gid() == "best-of-n"]
    assert gold.get_color() == INK


def test_what_is_missing_to_the_most_is_in_points_of_the_win_rate(figure):
    x, y = line(figure, "best-of-n", axes=1)
    n = np.array([2, 4, 8, 16, 32])
    np.testing.assert_allclose(x, np.log(n) - (n - 1) / n)
    np.testing.assert_allclose(y, 100 * (most(x) - n / (n + 1)))
    assert np.all(y > -1e-9)
    np.testing.assert_allclose(y[0], 0.92, atol=0.01)  # a pair of draws wins 2/3; the tilt at its KL 0.676


def test_the_most_is_the_win_rate_of_the_tilt_of_a_uniform_quantile():
    u = (np.arange(200_000) + 0.5) / 200_000
    for slope in (0.5, 2.0, 8.0):
        w = np.exp(slope * u)
        w /= w.sum()
        kl = float(w @ np.log(w * len(u)))
        assert most([kl])[0] == pytest.approx(w @ u, abs=1e-6)


def test_ties_only_lower_what_can_be_won():
    p = np.array([0.3, 0.5, 0.2])  # three levels of gold
    middle = np.cumsum(p) - p / 2
    for slope in (0.5, 2.0, 8.0):
        w = p * np.exp(slope * middle)
        w /= w.sum()
        assert w @ middle < most([float(w @ np.log(w / p))])[0]


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9)])
def test_readable(width, size):
    look = Look(width=width, font_size=size, names=LOOK.names)
    drawn = win_rate(TABLE, look, proxies=PROXIES, ensembles=ENSEMBLES)
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def test_without_relatives_proxies_or_rows_it_still_draws():
    assert len(win_rate(synthetic.best_of_n(), LOOK, proxies=PROXIES).axes) == 1
    assert "gold" in gids(win_rate(TABLE, LOOK))
    assert len(win_rate(TABLE.clear(), LOOK, proxies=PROXIES).axes) == 1

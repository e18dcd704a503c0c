"""Win rate against KL: the tables' points, in their colours, under the closed-form ceiling."""

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import bars, cut_off, gids, line, overlaps, smallest, texts

from alignment_limits.report.figures.methods import most, win_rate
from alignment_limits.report.figures.style import INK, Look

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


def test_what_is_not_reliable_is_hollow_dashed_and_said():
    few = TABLE.with_columns(reliable=False, win_rate_reliable=False, reason=pl.lit("only 8 prompts (needs 16)"))
    drawn = win_rate(few, LOOK, proxies=PROXIES, ensembles=ENSEMBLES)
    for axes, name in ((0, "gold"), (0, "vader"), (1, "best-of-n"), (1, "best-of-poisson")):
        whole, hollow = (line(drawn, gid, axes)[0].tolist() for gid in (name, f"{name}:unreliable"))
        assert whole == hollow != []
    joining = [
        a for a in drawn.axes[0].get_lines() if a.get_color() == LOOK.colour("vader") and len(a.get_xdata()) > 20
    ]
    assert joining
    assert all(a.is_dashed() for a in joining)
    assert any("No estimate here is reliable" in t.get_text() for t in texts(drawn))
    assert overlaps(drawn) == []


def test_a_verdict_of_the_win_rate_itself_goes_before_that_of_the_row():
    own = TABLE.with_columns(reliable=False, win_rate_reliable=True)
    drawn = win_rate(own, LOOK, proxies=PROXIES)
    assert line(drawn, "gold:unreliable")[0].size == 0
    assert not any("reliable" in t.get_text() for t in texts(drawn))


def test_no_win_rate_is_drawn_above_the_upper_bound():
    top = 0.5 + pl.Series(most(TABLE["kl"]) - 0.5)
    noisy = TABLE.with_columns(win_rate=top + 0.01, win_rate_low=top - 0.02, win_rate_high=top + 0.03)
    sure = TABLE.with_columns(win_rate=top + 0.03, win_rate_low=top + 0.01, win_rate_high=top + 0.05)
    x, y = line(win_rate(noisy, LOOK, proxies=PROXIES), "vader")
    np.testing.assert_allclose(y, most(x), atol=1e-12)
    assert line(win_rate(noisy, LOOK, proxies=PROXIES), "best-of-n", axes=1)[1] == pytest.approx(0, abs=1e-9)
    assert not {g for g in gids(win_rate(sure, LOOK, proxies=PROXIES)) if "vader" in g}


def test_error_bars_reach_from_the_lower_to_the_upper_end():
    lopsided = TABLE.with_columns(win_rate_low=pl.col("win_rate") - 0.05, win_rate_high=pl.col("win_rate") + 0.01)
    drawn = win_rate(lopsided, LOOK, proxies=PROXIES)
    x, y = line(drawn, "vader")
    assert (y[2] - 0.05, y[2] + 0.01) in [pytest.approx(bar) for bar in bars(drawn.axes[0], x[2])]
    x, y = line(
        drawn, "best-of-poisson", axes=1
    )  # points of the win rate below the bound: lower and upper change sides
    found = [tuple(sorted(bar)) for bar in bars(drawn.axes[1], x[0])]
    assert (y[0] - 1, y[0] + 5) in [pytest.approx(bar) for bar in found]

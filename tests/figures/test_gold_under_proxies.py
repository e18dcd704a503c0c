"""Gold under proxies and ensembles, beside the ideal."""

import numpy as np
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, smallest

from alignment_limits.report.figures.rewards import gold_under_proxies
from alignment_limits.report.figures.style import ENSEMBLE, INK, Look

PROXIES, ENSEMBLES = list(synthetic.RHO), list(synthetic.ENSEMBLES)
LOOK = Look(names=(*PROXIES, *ENSEMBLES))


@pytest.fixture(scope="module")
def figure():
    return gold_under_proxies(synthetic.frontier(), LOOK, proxies=PROXIES, ensembles=ENSEMBLES)


def test_each_proxys_line_passes_through_its_points(figure):
    for name, rho in synthetic.RHO.items():
        x, y = line(figure, name)
        at = np.flatnonzero(x == 1.0)[0]
        assert y[at] == pytest.approx(rho * np.sqrt(2) - (0.2 if name == "vader" else 0))


def test_the_ideal_is_black_in_both_panels(figure):
    for ax in figure.axes:
        (ideal,) = [a for a in ax.get_lines() if a.get_gid() == "gold"]
        assert ideal.get_color() == INK
        assert ideal.get_linestyle() == "-"


def test_ensembles_have_their_own_panel_and_line_style(figure):
    first, second = ({a.get_gid(): a for a in ax.get_lines()} for ax in figure.axes)
    assert not set(ENSEMBLES) & set(first)
    for name in ENSEMBLES:
        drawn = second[name]
        unscaled = np.asarray(drawn._unscaled_dash_pattern[1])
        np.testing.assert_allclose(unscaled, ENSEMBLE[1])
        assert drawn.get_color() == LOOK.colour(name)


def test_unreliable_parts_are_dashed(figure):
    for ax in figure.axes:
        for drawn in ax.get_lines():
            if (drawn.get_gid() or "").endswith(":unreliable"):
                assert drawn.is_dashed()
                assert np.nanmin(drawn.get_xdata()) >= 2.0


def test_key_is_ordered_as_the_curves_are(figure):
    names = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in figure.axes]
    assert names == [PROXIES, ENSEMBLES]
    reverse = gold_under_proxies(synthetic.frontier(), LOOK, proxies=PROXIES[::-1])
    assert [t.get_text() for t in reverse.axes[0].get_legend().get_texts()] == PROXIES


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9)])
def test_readable(width, size):
    look = Look(width=width, font_size=size, names=LOOK.names)
    drawn = gold_under_proxies(synthetic.frontier(), look, proxies=PROXIES, ensembles=ENSEMBLES)
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def test_gold_that_falls_below_zero_stays_in_view():
    drawn = gold_under_proxies(synthetic.frontier(decay={"vader": 1.0}), LOOK, proxies=PROXIES)
    low, _ = drawn.axes[0].get_ylim()
    assert low < 0.3 * np.sqrt(5) - 2.5


def test_without_ensembles_or_proxies_it_still_draws():
    assert len(gold_under_proxies(synthetic.frontier(), LOOK, proxies=PROXIES).axes) == 1
    assert "gold" in gids(gold_under_proxies(synthetic.frontier(), LOOK, proxies=[]))


@pytest.mark.parametrize("unreachable", [0.0, 0.2])
def test_short_and_empty_curves_do_not_stop_it(unreachable):
    table = synthetic.frontier(unreachable=unreachable)
    drawn = gold_under_proxies(table, LOOK, proxies=PROXIES, ensembles=ENSEMBLES)
    assert overlaps(drawn) == []


@pytest.mark.parametrize("length", [18, 26, 40])
def test_long_names_stay_on_the_page(length):
    longer = {name: name.ljust(length, "x") for name in LOOK.names}
    table = synthetic.frontier()
    table = table.with_columns(table[c].replace(longer) for c in ("optimized", "evaluated"))
    names = list(longer.values())
    drawn = gold_under_proxies(
        table, Look(names=tuple(names)), proxies=names[: len(PROXIES)], ensembles=names[len(PROXIES) :]
    )
    assert cut_off(drawn) == []
    assert overlaps(drawn) == []

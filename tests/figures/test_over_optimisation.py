"""Over-optimisation: fits over their own range, dashed where they miss, stopping points only where found."""

import numpy as np
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, smallest

from alignment_limits.figures.over_optimisation import over_optimisation
from alignment_limits.figures.style import Look

PROXIES, ENSEMBLES = list(synthetic.RHO), list(synthetic.ENSEMBLES)
LOOK = Look(names=(*PROXIES, *ENSEMBLES))
TABLES = synthetic.over_optimisation(), synthetic.best_of_n()


@pytest.fixture(scope="module")
def figure():
    return over_optimisation(*TABLES, LOOK, proxies=PROXIES, ensembles=ENSEMBLES)


def test_the_fit_is_the_tables_and_goes_no_further(figure):
    x, y = line(figure, "fit:vader")
    np.testing.assert_allclose([x[0], x[-1]], [0.2, 2.5])
    np.testing.assert_allclose(y, 1.4 * 0.3 * np.sqrt(x) - 0.1 * x)


def test_a_fit_that_misses_is_dashed_and_thin(figure):
    lines = {a.get_gid(): a for a in figure.axes[0].get_lines()}
    assert lines["fit:minilm"].is_dashed()
    assert not lines["fit:vader"].is_dashed()
    assert lines["fit:minilm"].get_linewidth() < lines["fit:vader"].get_linewidth()


def test_a_stopping_point_stands_at_the_kl_of_its_n_only_where_found(figure):
    assert {g for g in gids(figure) if g.startswith("stop:")} == {"stop:vader"}
    x, y = line(figure, "stop:vader")
    assert np.log(4) - 3 / 4 < x[0] < np.log(8) - 7 / 8
    assert y[0] == 0.2


def test_points_are_gold_under_each_proxy(figure):
    _, y = line(figure, "minilm")
    assert y[1] == pytest.approx(0.95 * 0.93 * 0.5 * synthetic.expected_max(2))


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9)])
def test_readable(width, size):
    look = Look(width=width, font_size=size, names=LOOK.names)
    drawn = over_optimisation(*TABLES, look, proxies=PROXIES, ensembles=ENSEMBLES)
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def test_without_proxies_ensembles_or_rows_it_still_draws():
    assert len(over_optimisation(*TABLES, LOOK, proxies=PROXIES).axes) == 1
    assert len(over_optimisation(*TABLES, LOOK).axes) == 1
    assert over_optimisation(TABLES[0].clear(), TABLES[1].clear(), LOOK, proxies=PROXIES).axes

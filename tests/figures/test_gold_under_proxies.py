"""Gold under proxies and ensembles, below the limit."""

import numpy as np
import polars as pl
import pytest
import synthetic
from many import study
from reading import cut_off, gids, line, overlaps, smallest

from alignment_limits.report.figures.curves import apart
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


def test_few_names_are_at_the_ends_of_their_curves_in_their_colours(figure):
    for ax, names in zip(figure.axes, (PROXIES, ENSEMBLES), strict=True):
        assert ax.get_legend() is None
        notes = {t.get_gid()[4:]: t for t in ax.texts if (t.get_gid() or "").startswith("end:")}
        assert list(notes) == names, "from the highest to the lowest"
        for name, note in notes.items():
            assert note.get_text().replace("\n", "") == name
            assert note.get_color() == LOOK.colour(name)
            x, y = line(figure, f"{name}:unreliable", figure.axes.index(ax))
            assert note.xy == (pytest.approx(np.nanmax(x)), pytest.approx(y[np.nanargmax(x)]))


def test_many_names_are_in_a_key_that_is_ordered_as_the_curves_are():
    curves, _, _, own, _ = study(12, 0)
    look = Look(names=own)
    ordered, reverse = (gold_under_proxies(curves, look, proxies=names) for names in (own, own[::-1]))
    keys = [[t.get_text() for t in drawn.axes[0].get_legend().get_texts()] for drawn in (ordered, reverse)]
    assert not [t for t in ordered.axes[0].texts if (t.get_gid() or "").startswith("end:")]
    assert sorted(keys[0]) == sorted(keys[1])
    at = {name: line(ordered, name)[1] for name in own}
    ends = [round(float(np.nanmax(at[name.replace("\n", "")])), 6) for name in keys[0]]
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize("wanted", [[0.5] * 6, [0.0, 0.0, 0.1, 0.9, 1.0, 1.0], np.linspace(0.1, 0.9, 6)])
def test_names_at_ends_do_not_overlap_and_stay_in_the_panel(wanted):
    sizes = np.array([0.1, 0.2, 0.1, 0.1, 0.2, 0.1])
    found = apart(np.array(wanted), sizes)
    assert np.all(np.diff(found) >= (sizes[1:] + sizes[:-1]) / 2 - 1e-12)
    assert found[0] - sizes[0] / 2 >= -1e-12
    assert found[-1] + sizes[-1] / 2 <= 1 + 1e-12
    assert apart(np.array([]), np.array([])).size == 0


def test_a_figure_where_nothing_is_reliable_says_so_with_the_reason():
    why = "only 8 prompts (needs 16)"
    few = synthetic.frontier().with_columns(reliable=pl.lit(False), reason=pl.lit(why))
    drawn = gold_under_proxies(few, LOOK, proxies=PROXIES, ensembles=ENSEMBLES)
    for ax in drawn.axes:
        assert f"No estimate here is reliable. Reason: {why}." in [t.get_text().replace("\n", " ") for t in ax.texts]
    assert overlaps(drawn) == []


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

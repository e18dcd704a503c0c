"""Which parts of a curve are drawn, and where."""

import numpy as np
import polars as pl
import pytest
import synthetic
from matplotlib.figure import Figure

from alignment_limits.report.figures.curves import Curve, curve, draw, pieces


def made(gain, reliable):
    gain = np.array([0.0, *gain])
    kl = np.arange(gain.size, dtype=float)
    return Curve(kl, gain, gain, gain, np.array([True, *reliable]) & np.isfinite(gain))


def test_curve_takes_fixed_kl_rows_of_one_pair_and_starts_at_the_origin():
    c = curve(synthetic.frontier(), "minilm", "gold")
    assert c.kl.tolist() == [0.0, *synthetic.KLS]
    np.testing.assert_allclose(c.gain[:3], 0.5 * np.sqrt(2 * c.kl[:3]))
    assert np.isnan(c.gain[-1])
    assert c.reach == 2.0
    assert c.end == 2.5


def test_an_absent_pair_is_only_the_origin():
    c = curve(synthetic.frontier(), "nobody", "gold")
    assert c.kl.tolist() == [0.0]
    assert pieces(c, c.gain, True)[0].tolist() == pytest.approx([np.nan], nan_ok=True)


def test_gaussian_frontier_is_drawn_exactly_between_points():
    c = curve(synthetic.frontier(), "gold", "gold")
    x, y = pieces(c, c.gain, True)
    np.testing.assert_allclose(y[1:], np.sqrt(2 * x[1:]), atol=1e-12)


def test_reliable_and_other_part_share_their_border_and_cover_all_points():
    c = made([1, 2, 3, 4], [True, True, False, False])
    (solid, _), (dashed, _) = pieces(c, c.gain, True), pieces(c, c.gain, False)
    assert (np.nanmin(solid), np.nanmax(solid)) == (0, 2)
    assert (np.nanmin(dashed), np.nanmax(dashed)) == (2, 4)
    assert set(c.kl) <= set(solid) | set(dashed)


def test_a_gap_is_not_bridged():
    c = made([1, np.nan, 3, 4], [True, True, True, True])
    x, y = pieces(c, c.gain, True)
    inside = x[np.isfinite(x)]
    assert not ((inside > 1) & (inside < 3)).any()
    assert np.isnan(y[np.flatnonzero(x == 1)[0] + 1])


def test_doubtful_ranges_lie_between_reliable_neighbours():
    assert made([1, 2, 3, 4], [False, True, False, False]).doubtful == [(0, 2), (2, np.inf)]
    assert made([1, 2], [True, True]).doubtful == []


def test_null_gains_are_gaps_too():
    table = synthetic.frontier().with_columns(pl.col("gain").fill_nan(None))
    assert np.isnan(curve(table, "gold", "gold").gain[-1])


def test_the_band_is_fainter_where_the_curve_is_not_reliable():
    ax = Figure().subplots()
    draw(ax, curve(synthetic.frontier(), "gold", "gold"), colour="k", name="c", band=0.2)
    sure, other = (band.get_alpha() for band in ax.collections)
    assert (sure, other) == (0.2, pytest.approx(0.08))

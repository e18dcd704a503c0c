"""Every figure's error bars and bands reach from the lower to the upper end of lopsided intervals."""

import numpy as np
import polars as pl
import pytest
import synthetic
from learned import TARGETS_TABLE
from matplotlib.figure import Figure
from reading import bars, line

from alignment_limits.policies.target import chosen, distances, main_setting
from alignment_limits.report.figures.curves import curve, draw
from alignment_limits.report.figures.learning import gamma_estimates
from alignment_limits.report.figures.learning import line as objective_line
from alignment_limits.report.figures.methods import Panel, panels
from alignment_limits.report.figures.over_optimisation import selected, tilted
from alignment_limits.report.figures.policies import exact, policies
from alignment_limits.report.figures.rewards import proxy_quality
from alignment_limits.report.figures.style import Look
from alignment_limits.report.figures.targets import target_plane, targets

DOWN, UP = 0.03, 0.01  # an interval reaches three times as far down as up
LOOK = Look(names=tuple(synthetic.RHO))


def lopsided(table, *columns):
    return table.with_columns(
        (pl.col(c) + d).alias(f"{c}_{end}") for c in columns for end, d in (("low", -DOWN), ("high", UP))
    )


def has(ax, at, middle, *, horizontal=False):
    """Whether one of the bars there spans the middle's lopsided interval."""
    found = [tuple(sorted(bar)) for bar in bars(ax, at, horizontal)]
    return any(np.allclose(bar, (middle - DOWN, middle + UP)) for bar in found)


def test_policies():
    table = lopsided(synthetic.policies(), "kl", "gain", "efficiency")
    drawn = policies(table, synthetic.frontier(), synthetic.best_of_n(), LOOK, evaluated="gold")
    kl, gain = (v[0] for v in line(drawn, "gain:ppo-a"))
    assert has(drawn.axes[0], kl, gain)
    assert has(drawn.axes[0], gain, kl, horizontal=True)
    assert has(drawn.axes[1], kl, 0.8)


def test_policies_beside_the_limit_never_have_a_share_above_one():
    noisy = synthetic.policies().with_columns(efficiency=1.02, efficiency_low=0.9, efficiency_high=1.1)
    drawn = policies(noisy, synthetic.frontier(), synthetic.best_of_n(), LOOK, evaluated="gold")
    assert line(drawn, "efficiency:ppo-a", 1)[1][0] == 1
    assert any(np.allclose(bar, (0.9, 1)) for bar in bars(drawn.axes[1], 0.5))
    sure = noisy.with_columns(efficiency_low=1.01)
    drawn = policies(sure, synthetic.frontier(), synthetic.best_of_n(), LOOK, evaluated="gold")
    assert not [a for a in drawn.axes[1].get_lines() if a.get_gid() == "efficiency:ppo-a"]


def test_target_plane():
    rows = chosen(main_setting(distances(TARGETS_TABLE, None)))
    table = lopsided(synthetic.policies(), "kl", "gain")
    args = (rows, (0.7, 1.1), table, synthetic.frontier(), synthetic.best_of_n(), LOOK)
    drawn = target_plane(*args, evaluated="gold")
    kl, gain = (v[0] for v in line(drawn, "gain:ppo-a"))
    assert has(drawn.axes[0], kl, gain)
    assert has(drawn.axes[0], gain, kl, horizontal=True)


def test_targets():
    table = TARGETS_TABLE.with_columns(low=pl.col("estimate") - DOWN, high=pl.col("estimate") + UP)
    drawn = targets(chosen(main_setting(distances(table, None))), LOOK)
    assert has(drawn.axes[0], 256, 0.5 * 1.02)


def test_exact():
    row = {"optimized": "gold", "evaluated": "gold", "budget": "average", "exact": 1.0, "estimate": 0.95}
    row |= {"low": 0.95 - DOWN, "high": 0.95 + UP}
    frontier = pl.DataFrame([row | {"at": "kl", "quantity": "gain", "kl": 0.5}])
    both = [row | {"method": "best-of-n", "n": 2, "quantity": q} for q in ("kl", "gain")]
    drawn = exact(frontier, pl.DataFrame(both), None, LOOK, evaluated="gold")
    assert has(drawn.axes[0], 0.5, 0.95)
    assert has(drawn.axes[0], 0.95, 0.95)


def test_gamma():
    table = pl.DataFrame({"dimension": [4], "n": [100], "identified": [True], "gamma": [0.5], "low": [0.5 - DOWN]})
    drawn = gamma_estimates(table.with_columns(high=0.5 + UP), Look(), truth=0.5)
    assert has(drawn.axes[0], line_x(drawn.axes[0]), 0.5)


def line_x(ax):
    return next(a for a in ax.get_lines() if a.get_marker() == "o").get_xdata()[0]


@pytest.mark.parametrize(
    ("draw_method", "points", "peak"),
    [(tilted, synthetic.frontier(), 0.5), (selected, synthetic.best_of_n(), 5.0)],
    ids=["tilt", "best-of-n"],
)
def test_over_optimisation(draw_method, points, peak):
    fits = lopsided(synthetic.over_optimisation(), "peak", "alpha", "beta")
    drawn = draw_method(fits, lopsided(points, "gain"), LOOK, proxies=list(synthetic.RHO))
    x, y = line(drawn, "minilm")
    assert has(drawn.axes[0], x[2], y[2])
    if draw_method is tilted:
        assert has(drawn.axes[0], 0.2, 0.5, horizontal=True), "the onset, at its gold"
    row = list(synthetic.RHO).index("vader")
    for axes, middle in ((1, peak), (2, 1.4 * synthetic.RHO["vader"]), (3, 0.1)):
        assert has(drawn.axes[axes], row, middle, horizontal=True)


def test_panels():
    study = Panel("one", synthetic.frontier(), lopsided(synthetic.best_of_n(), "gain"), "gold", ())
    drawn = panels([study], LOOK)
    x, y = line(drawn, "best-of-4")
    assert has(drawn.axes[0], x[0], y[0])


def test_learning():
    ax = Figure().subplots()
    rows = pl.DataFrame({"n": [64], "value": [0.5], "low": [0.5 - DOWN], "high": [0.5 + UP]})
    objective_line(ax, rows, "n", "dpo", Look())
    assert has(ax, 64, 0.5)


@pytest.mark.parametrize("kl", [0.5, 1.5])
def test_the_band_of_a_curve(kl):
    ax = Figure().subplots()
    draw(ax, curve(lopsided(synthetic.frontier(), "gain"), "gold", "gold"), colour="k", name="c")
    ends = ends_at(ax.collections[0], kl)
    assert ends == pytest.approx((np.sqrt(2 * kl) - DOWN, np.sqrt(2 * kl) + UP), abs=1e-6)


def ends_at(band, x):
    heights = np.concatenate([p.vertices[np.abs(p.vertices[:, 0] - x) < 1e-9, 1] for p in band.get_paths()])
    return heights.min(), heights.max()


def test_the_band_of_an_ensembles_gap():
    proxies = pl.DataFrame({"labels": [10], "error_variance": [0.5], "beta": [1.0], "gap": [0.2], "reliable": [True]})
    own = {"shared": "neither", "aggregator": "mean", "beta": 1.0, "gap_predicted": 0.3, "gap_floor": 0.1, "rho": 0.4}
    sizes = pl.DataFrame([own | {"k": k, "gap": 0.5 / k, "reliable": True} for k in (1, 2, 4)])
    drawn = proxy_quality(proxies, lopsided(sizes, "gap"), Look(), beta=1.0)
    band = drawn.axes[2].collections[0]
    assert ends_at(band, 2) == pytest.approx((0.25 - DOWN, 0.25 + UP))

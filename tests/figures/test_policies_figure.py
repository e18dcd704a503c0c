"""The figure of policies says what the tables say."""

import math

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, texts

from alignment_limits.report.figures.policies import PALE, policies
from alignment_limits.report.figures.style import BEST_OF_N, Look, save


def draw(table=None, **more):
    look = Look(names=tuple(synthetic.RHO), **more)
    table = synthetic.policies() if table is None else table
    return policies(table, synthetic.frontier(), synthetic.best_of_n(), look, evaluated="gold")


@pytest.fixture(scope="module")
def figure():
    return draw()


def test_every_policy_with_a_kl_stands_at_its_kl_and_gain(figure):
    for policy, kl in (("ppo-a", 0.5), ("ppo-b", 1.2)):
        x, y = line(figure, f"gain:{policy}")
        assert (x[0], y[0]) == pytest.approx((kl, 0.8 * math.sqrt(2 * kl)))
        x, y = line(figure, f"efficiency:{policy}", axes=1)
        assert (x[0], y[0]) == pytest.approx((kl, 0.8))
    x, y = line(figure, "gain:still")
    assert (x[0], y[0]) == pytest.approx((0, 0.01))
    low, high = figure.axes[0].get_xlim()
    assert low <= 0 < 1.25 < high, "intervals are inside"


def test_without_kl_there_is_no_share_and_with_infinite_kl_no_place(figure):
    assert "efficiency:still" not in gids(figure)
    assert not {g for g in gids(figure) if "cut" in g}
    assert any(t.get_text() == "not drawn (infinite KL): cut" for t in texts(figure))


def test_limit_and_best_of_n_are_the_evaluated_rewards(figure):
    x, y = line(figure, "limit")
    assert y[x == 1.0] == pytest.approx(math.sqrt(2))
    rows = synthetic.best_of_n().filter(
        (pl.col("optimized") == "gold") & (pl.col("evaluated") == "gold") & (pl.col("budget") == "average")
    )
    for axes, name, shown in ((0, "gain", rows), (1, "efficiency", rows.filter("reliable"))):
        x, y = line(figure, f"{name}:best-of-n", axes)
        shown = shown.filter(pl.col(name).is_finite() & (pl.col("n") > 1))
        assert len(x) > 2
        assert list(zip(x, y, strict=True)) == shown.sort("kl").select("kl", name).rows()[: len(x)]


def test_best_of_n_is_joined_by_a_smooth_line_that_does_not_reach_the_origin(figure):
    x, _ = line(figure, "gain:best-of-n")
    joining = [
        a.get_xdata()
        for a in figure.axes[0].get_lines()
        if a.get_color() == BEST_OF_N and len(a.get_xdata()) > 2 * len(x)
    ]
    assert len(joining) == 1
    assert np.nanmin(joining[0]) == x[0] > 0


def test_a_sweep_has_one_entry_in_the_key(figure):
    words = [t.get_text() for t in texts(figure)]
    assert words.count("ppo on gold") == 1
    assert {"limit", "best-of-n", "still"} <= set(words)


@pytest.mark.parametrize("size", [(3.4, 8), (7, 10)])
def test_texts_are_whole_and_apart(size):
    drawn = draw(width=size[0], font_size=size[1])
    assert not overlaps(drawn)
    assert not cut_off(drawn)


def test_policies_worse_than_the_base_stay_on_the_page(tmp_path):
    table = synthetic.policies().with_columns(pl.col("gain", "gain_low", "gain_high", "efficiency") * -1)
    drawn = draw(table)
    for axes, name in ((0, "gain"), (1, "efficiency")):
        low, high = drawn.axes[axes].get_ylim()
        assert low < line(drawn, f"{name}:ppo-b", axes)[1][0] < high
    save(drawn, Look(), tmp_path / "a.png")
    save(draw(table), Look(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_not_reliable_is_pale_or_hollow():
    """Each quantity by its own verdict: a gain with few prompts, and none of best-of-n."""
    table = synthetic.policies().with_columns(gain_reliable=pl.col("policy") != "ppo-b")
    few = synthetic.best_of_n().with_columns(gain_reliable=pl.col("n") > 2)
    drawn = policies(table, synthetic.frontier(), few, Look(names=tuple(synthetic.RHO)), evaluated="gold")
    alphas = {a.get_gid(): a.get_alpha() for axes in drawn.axes for a in axes.get_lines() if a.get_gid()}
    assert alphas["gain:ppo-b"] == PALE
    assert alphas["gain:ppo-a"] == alphas["gain:still"] == alphas["efficiency:ppo-b"] == 1
    assert line(drawn, "gain:best-of-n:unreliable")[0].tolist() == line(drawn, "gain:best-of-n")[0][:1].tolist()


def test_a_limit_that_needs_the_policys_samples_is_an_open_circle_above_it(figure):
    assert "limit:pooled" not in gids(figure)
    table = synthetic.policies().with_columns(
        limit_from=pl.when(pl.col("policy") == "ppo-b").then(pl.lit("pool")).otherwise(pl.lit("base"))
    )
    drawn = draw(table)
    x, y = line(drawn, "limit:pooled")
    (row,) = table.filter((pl.col("policy") == "ppo-b") & (pl.col("evaluated") == "gold")).iter_rows(named=True)
    assert (list(x), list(y)) == ([row["kl"]], [row["limit"]])
    assert "limit, with samples of policies" in {t.get_text() for t in drawn.legends[0].get_texts()}


def test_bounds_stand_where_the_limit_is_not_reliable():
    lost = pl.col("policy") == "ppo-b"
    table = synthetic.policies().with_columns(reliable=pl.col("reliable") & ~lost, at_least=1.2, at_most=pl.lit(1.9))
    drawn = draw(table.with_columns(limit_reliable=pl.col("reliable")))
    assert line(drawn, "bounds:1.2")[1].tolist() == [1.2, 1.9]
    assert "bounds:0.5" not in gids(drawn)
    assert "limit, at least and at most" in {t.get_text() for t in drawn.legends[0].get_texts()}

"""The frontier figure says what the tables say."""

import numpy as np
import polars as pl
import pytest
import synthetic
from estimated import rare, tables
from reading import bars, cut_off, gids, line, overlaps, smallest, texts

from alignment_limits.limits import best_of_n
from alignment_limits.limits.worlds import MIXTURES, WORLDS
from alignment_limits.report.figures.frontier import frontier
from alignment_limits.report.figures.style import Look
from alignment_limits.report.numbers import share_bounds

LOOK = Look(names=(*synthetic.RHO, *synthetic.ENSEMBLES))


@pytest.fixture(scope="module")
def figure():
    return frontier(synthetic.frontier(), synthetic.best_of_n(), LOOK)


def words(figure):
    return " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")


def keys(figure):
    return {t.get_text() for t in figure.legends[0].get_texts()}


def test_line_passes_through_the_tables_points(figure):
    x, y = line(figure, "average")
    for kl in (k for k in synthetic.KLS if k <= 2):
        assert y[np.flatnonzero(x == kl)[0]] == pytest.approx(np.sqrt(2 * kl))
    _, y = line(figure, "per-prompt")
    assert np.nanmax(y) == pytest.approx(0.93 * 2)


def test_unreliable_part_is_dashed_shaded_and_named(figure):
    x, _ = line(figure, "average:unreliable")
    assert (np.nanmin(x), np.nanmax(x)) == (2.0, 2.5)
    (dashed,) = [a for a in figure.axes[0].get_lines() if a.get_gid() == "average:unreliable"]
    assert dashed.is_dashed()
    (span,) = [p for p in figure.axes[0].patches if p.get_gid() == "unreliable:average"]
    assert span.get_x() == 2.0
    assert span.get_x() + span.get_width() == pytest.approx(figure.axes[0].get_xlim()[1])
    assert {"not reliable (on average)", "not reliable (per prompt)"} <= keys(figure)


def test_where_the_limit_is_not_reliable_its_bounds_are_drawn():
    table = synthetic.frontier().with_columns(
        at_least=0.9 * (2 * pl.col("kl")).sqrt(), at_most=pl.when(pl.col("kl") < 3).then(2.6)
    )
    drawn = frontier(table, synthetic.best_of_n(), LOOK)
    assert {g for g in gids(drawn) if g.startswith("bounds:")} == {"bounds:2.5", "bounds:3"}
    x, y = line(drawn, "bounds:2.5")
    assert x.tolist() == [2.5, 2.5]
    assert y.tolist() == pytest.approx([0.9 * np.sqrt(5), 2.6])
    assert line(drawn, "bounds:3")[1].tolist() == pytest.approx([0.9 * np.sqrt(6)]), "no upper bound"
    assert drawn.axes[0].get_ylim()[1] > 2.6
    assert "limit, at least and at most" in keys(drawn)
    far = frontier(table.with_columns(at_most=pl.lit(50.0)), synthetic.best_of_n(), LOOK)
    assert far.axes[0].get_ylim()[1] < 5, "a wide bracket does not squeeze the curves"
    assert not overlaps(drawn)
    assert "bounds:2.5" not in gids(frontier(synthetic.frontier(), synthetic.best_of_n(), LOOK)), "an older table"


def test_where_a_share_of_the_limit_is_not_reliable_its_bounds_are_drawn():
    table = synthetic.best_of_n().with_columns(
        at_least=0.8 * pl.col("limit"), at_most=pl.when(pl.col("n") < 32).then(1.2 * pl.col("limit")),
        gain_at_least=0.9 * pl.col("gain"),
    )  # fmt: skip
    drawn = frontier(synthetic.frontier(), table, LOOK)
    found = {g for g in gids(drawn) if g.startswith("share-bounds:average")}
    assert found == {"share-bounds:average:16"}, "n = 32 and 64 have no bounds but 0 and 1"
    (row,) = synthetic.best_of_n().filter(
        (pl.col("n") == 16) & (pl.col("budget") == "average") & (pl.col("optimized") == "gold")
    ).rows(named=True)  # fmt: skip
    x, y = line(drawn, "share-bounds:average:16", axes=1)
    assert x.tolist() == [row["kl"]] * 2
    assert y.tolist() == pytest.approx([0.9 / 1.2 * row["efficiency"], 1.0])
    low = table.with_columns(gain_high=1.001 * pl.col("gain"), at_least=1.2 * pl.col("limit"))
    _, y = line(frontier(synthetic.frontier(), low, LOOK), "share-bounds:average:64", axes=1)
    assert y.tolist() == pytest.approx([0.0, 1.0012 / 1.2 * low.filter(pl.col("n") == 64)["efficiency"][0]])


def test_bounds_of_shares_hold_where_they_are_given():
    """Best-of-n of exponential scores, whose shares are never reliable, and of pass rates with bounds."""
    for name, bounds in (("exponential", None), ("passrates", (0.0, 1.0))):
        world, wrong, given = (WORLDS | MIXTURES)[name], 0, 0
        n = 4
        kl, gain = world.best_of_n(n)
        share = gain / world.limit(kl)
        for seed in range(20):
            found = best_of_n(
                world.draw(np.random.default_rng(seed), 64, 64), ns=[n], bounds=bounds, replicates=200, seed=seed
            )
            row = share_bounds(found.to_polars()).row(0, named=True)
            wrong += not (row["share_at_least"] or 0) <= share <= row["share_at_most"]
            given += (row["share_at_least"] or 0) > 0 or row["share_at_most"] < 1
        assert wrong == 0
        assert given == 20, name


def predicted(**changed):
    """Best-of-n with predictions at 128 to 1,024 draws, as from 64 samples."""
    rows = synthetic.best_of_n()
    rows = rows.filter((pl.col("n") == 64) & (pl.col("optimized") == "gold") & (pl.col("budget") == "average"))
    grown = [
        rows.with_columns(
            method=pl.lit("predicted-best-of-n"),
            n=pl.lit(n, rows.schema["n"]),
            kl=pl.lit(np.log(n) - (n - 1) / n),
            gain=pl.lit(synthetic.expected_max(n)),
            gain_low=pl.lit(synthetic.expected_max(n) - 0.1),
            gain_high=pl.lit(synthetic.expected_max(n) + 0.1),
        ).with_columns(**changed)
        for n in (128, 256, 512, 1024)
    ]
    return pl.concat([synthetic.best_of_n(), *grown])


def test_predictions_go_on_from_the_largest_n_in_a_style_of_their_own():
    drawn = frontier(synthetic.frontier(), predicted(), LOOK)
    x, y = line(drawn, "predicted")
    n = np.array([64, 128, 256])  # up to four times the samples
    np.testing.assert_allclose(x, np.log(n) - (n - 1) / n)
    np.testing.assert_allclose(y[1:], [synthetic.expected_max(k) for k in (128, 256)])
    (dotted,) = [a for a in drawn.axes[0].get_lines() if a.get_gid() == "predicted"]
    assert dotted.is_dashed()
    assert dotted.get_markerfacecolor() == "white"
    assert "best-of-n, predicted" in keys(drawn)
    assert not overlaps(drawn)
    assert smallest(drawn) >= 6


def test_predictions_that_are_not_reliable_are_not_drawn():
    drawn = frontier(synthetic.frontier(), predicted(gain_reliable=pl.lit(value=False)), LOOK)
    assert "predicted" not in gids(drawn)
    assert "best-of-n, predicted" not in keys(drawn)


def test_nothing_is_shaded_when_all_is_reliable():
    drawn = frontier(synthetic.frontier(reach=9, unreachable=9), synthetic.best_of_n(), LOOK)
    assert not [g for g in gids(drawn) if "unreliable:" in g]
    assert "not reliable" not in words(drawn)
    assert "Not drawn" not in words(drawn)


def test_ceiling_stands_at_log_m(figure):
    x, _ = line(figure, "ceiling")
    assert x[0] == pytest.approx(np.log(64))


def test_a_ceiling_far_off_is_named_not_drawn():
    drawn = frontier(synthetic.frontier().with_columns(log_m=pl.lit(9.0)), synthetic.best_of_n().clear(), LOOK)
    assert "ceiling" not in gids(drawn)
    assert "9.0" in words(drawn)


def test_bound_is_sigma_root_two_kl():
    x, y = line(frontier(synthetic.frontier(), synthetic.best_of_n(), LOOK, sigma=1.5), "bound")
    np.testing.assert_allclose(y, 1.5 * np.sqrt(2 * x))


def test_best_of_n_points_are_where_the_table_puts_them(figure):
    for n in (2, 4, 8, 16, 32, 64):
        x, y = line(figure, f"best-of-{n}")
        assert x[0] == pytest.approx(np.log(n) - (n - 1) / n)
        assert y[0] == pytest.approx(0.95 * 0.93 * synthetic.expected_max(n))
    assert "best-of-1" not in gids(figure)


def test_unreliable_best_of_n_is_paler():
    points = synthetic.best_of_n().with_columns(gain_reliable=pl.col("n") <= 8)
    drawn = frontier(synthetic.frontier(), points, LOOK)
    alpha = {a.get_gid(): a.get_alpha() for a in drawn.axes[0].get_lines()}
    assert alpha["best-of-8"] == 1
    assert alpha["best-of-16"] < 0.5


def test_shares_of_both_budgets_are_below(figure):
    _, average = line(figure, "share:average:4", axes=1)
    _, own = line(figure, "share:per-prompt:4", axes=1)
    assert own[0] / average[0] == pytest.approx(1 / 0.93)


def test_without_best_of_n_there_is_one_panel():
    assert len(frontier(synthetic.frontier(), synthetic.best_of_n().clear(), LOOK).axes) == 1


@pytest.mark.parametrize("reach", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("unreachable", [0.0, 0.2, 3.0])
def test_any_reach_is_drawn_without_a_word_over_another(reach, unreachable):
    table = synthetic.frontier(reach=reach, unreachable=unreachable)
    drawn = frontier(table, synthetic.best_of_n(), LOOK)
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9), (3.4, 7)])
def test_readable(width, size):
    drawn = frontier(synthetic.frontier(), synthetic.best_of_n(), Look(width=width, font_size=size))
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def test_missing_intervals_and_shares_do_not_stop_it():
    columns = ["gain_low", "gain_high", "efficiency", "efficiency_low", "efficiency_high"]
    points = synthetic.best_of_n().with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in columns)
    table = synthetic.frontier().with_columns(pl.lit(np.nan).alias(c) for c in ("gain_low", "gain_high"))
    assert overlaps(frontier(table, points, LOOK)) == []


@pytest.fixture(scope="module")
def binary():
    """Binary gold of 2%: the per-prompt limit is estimated far above the average one, which falls at KL 1.75."""
    return tables(rare(seed=2))


def gain(table, budget, kl):
    own = (pl.col("budget") == budget) & (pl.col("at") == "kl") & (pl.col("kl") == kl)
    return table.filter(own)["gain"][0]


def test_nothing_is_drawn_against_an_identity(binary):
    table, points = binary
    assert gain(table, "per-prompt", 0.5) > 1.5 * gain(table, "average", 0.5), "the case is what it should be"
    assert gain(table, "average", 1.75) < gain(table, "average", 1.5)
    drawn = frontier(table, points, LOOK)
    x, average = joined(drawn, "average")
    assert np.all(np.diff(average) >= -1e-12), "a limit does not fall"
    x_own, per_prompt = joined(drawn, "per-prompt")
    assert np.all(per_prompt <= np.interp(np.sqrt(x_own), np.sqrt(x), average) + 1e-9)
    for budget in ("average", "per-prompt"):
        for n in (2, 4, 8, 16, 32, 64):
            shown = [a for a in drawn.axes[1].get_lines() if a.get_gid() == f"share:{budget}:{n}"]
            assert all(a.get_ydata()[0] <= 1 for a in shown if budget == "average")
    assert "Not drawn" in words(drawn)
    assert "per-prompt limit at KL 0.05 to 3" in words(drawn)
    assert "average limit at KL 1.75" in words(drawn)
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def joined(figure, name):
    """x and y of a curve's two parts, in order."""
    parts = [line(figure, gid) for gid in (name, f"{name}:unreliable")]
    x, y = (np.concatenate(side) for side in zip(*parts, strict=True))
    ok = np.isfinite(y)
    order = np.argsort(x[ok], kind="stable")
    return x[ok][order], y[ok][order]


def test_each_budget_has_an_area_of_its_own_where_it_is_not_reliable(binary):
    table, points = binary
    drawn = frontier(table, points, LOOK)
    found = {
        g: [p for p in drawn.axes[0].patches if p.get_gid() == f"unreliable:{g}"] for g in ("average", "per-prompt")
    }
    starts = {g: min(p.get_x() for p in areas) for g, areas in found.items()}
    for budget, start in starts.items():
        own = (pl.col("budget") == budget) & (pl.col("at") == "kl") & pl.col("reliable")
        assert start == max([0.0, *table.filter(own)["kl"].to_list()]), budget
    assert starts["per-prompt"] < starts["average"]
    looks = {g: (p[0].get_facecolor(), p[0].get_hatch()) for g, p in found.items()}
    assert looks["average"] != looks["per-prompt"]


def test_a_limit_within_noise_of_the_other_is_drawn_at_it():
    """Per-prompt 1 % above average, both reliable, intervals of 6 %."""
    drawn = frontier(synthetic.frontier(spread=1.01), synthetic.best_of_n(), LOOK)
    x, y = line(drawn, "per-prompt")
    for kl in (k for k in synthetic.KLS if k <= 2):
        assert y[x == kl][0] == pytest.approx(np.sqrt(2 * kl))
    assert "Not drawn" not in words(drawn)


def test_shares_above_one_are_drawn_at_one_within_noise_and_not_at_all_beyond_it():
    close, far = (frontier(synthetic.frontier(), _shared(s), LOOK) for s in (1.02, 1.2))
    assert line(close, "share:average:4", axes=1)[1][0] == 1
    assert "share:average:4" not in gids(far)
    assert "average share of n = 2, 4, 8" in words(far)
    tied = _shared(1.2).with_columns(kl=pl.col("kl") * 0.9)  # then prompts need not spend the same KL
    assert "share:per-prompt:4" in gids(frontier(synthetic.frontier(), tied, LOOK))
    assert "share:average:4" not in gids(frontier(synthetic.frontier(), tied, LOOK))


def _shared(value):
    columns = [
        pl.lit(value + d).alias(c) for c, d in (("efficiency", 0), ("efficiency_low", -0.05), ("efficiency_high", 0.07))
    ]
    return synthetic.best_of_n().with_columns(columns)


def test_error_bars_reach_from_the_lower_to_the_upper_end():
    lopsided = [
        (pl.col(c) + d).alias(f"{c}_{end}")
        for c, (low, high) in (("gain", (-0.3, 0.1)), ("efficiency", (-0.2, 0.04)))
        for end, d in (("low", low), ("high", high))
    ]
    drawn = frontier(synthetic.frontier(), synthetic.best_of_n(share=0.8).with_columns(lopsided), LOOK)
    for axes, name, (low, high) in ((0, "best-of-4", (-0.3, 0.1)), (1, "share:average:4", (-0.2, 0.04))):
        x, y = line(drawn, name, axes)
        assert (y[0] + low, y[0] + high) in [pytest.approx(bar) for bar in bars(drawn.axes[axes], x[0])]


def test_the_limit_goes_on_with_samples_of_policies_and_marks_them():
    base = synthetic.frontier().with_columns(samples_from=pl.lit("base"))
    own = pl.col("at") == "kl", pl.col("optimized") == LOOK.gold, pl.col("evaluated") == LOOK.gold
    pool = base.filter(*own).with_columns(samples_from=pl.lit("pool"), reliable=pl.lit(True), reason=pl.lit(""))
    pool = pool.with_columns(gain=(2 * pl.col("kl")).sqrt())
    far = pool.filter(pl.col("kl") == pl.col("kl").max()).with_columns(kl=pl.lit(6.0), gain=pl.lit(np.sqrt(12.0)))
    drawn = frontier(pl.concat([base, pool, far]), synthetic.best_of_n(), LOOK)
    x, y = line(drawn, "average")
    assert (np.nanmax(x), np.nanmax(y)) == pytest.approx((6.0, np.sqrt(12)))
    x, _ = line(drawn, "pooled")
    assert set(x) == {kl for kl in synthetic.KLS if kl > 2} | {6.0}, "base samples show the limit up to 2 nats here"
    assert "limit, with samples of policies" in keys(drawn)
    assert not [g for g in gids(drawn) if "unreliable:average" in g]
    assert drawn.axes[0].get_xlim()[1] > 6


def test_pooled_rows_that_are_not_reliable_mark_nothing(figure):
    base = synthetic.frontier().with_columns(samples_from=pl.lit("base"))
    pool = base.filter(pl.col("at") == "kl").with_columns(samples_from=pl.lit("pool"), reliable=pl.lit(False))
    drawn = frontier(pl.concat([base, pool]), synthetic.best_of_n(), LOOK)
    assert "pooled" not in gids(drawn)
    assert keys(drawn) == keys(figure)

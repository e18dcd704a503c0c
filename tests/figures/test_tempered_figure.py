"""The figure of tempered sampling: the limit, levels and best-of-n, by KL and by cost."""

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, gids, line, overlaps, texts

from alignment_limits.report.figures.methods import tempered
from alignment_limits.report.figures.style import Look

KLS = [0.5, 1.0, 2.0, 4.0, 6.0]
BASE_TOKENS = 10.0


def table(reach=4.0, reward="gold"):
    rows = []
    for at, budget, kls in (
        ("kl", "average", KLS), ("level", "average", [0.3, 1.2, 2.7, 5.0]), ("kl", "per-prompt", KLS),
    ):  # fmt: skip
        for i, kl in enumerate(kls):
            gain = np.sqrt(2 * kl) * (0.9 if budget == "per-prompt" else 1.0)
            rows.append(
                {
                    "optimized": reward, "evaluated": reward, "at": at, "budget": budget, "kl": kl,
                    "gain": gain, "gain_low": 0.9 * gain,
                    "gain_high": 1.1 * gain, "gain_drawn": 0.95 * gain if at == "level" else np.nan,
                    "tokens": BASE_TOKENS * (2 + 3 * i), "base_tokens": BASE_TOKENS, "reliable": kl <= reach,
                    "at_least": 0.7 * gain, "at_most": 1.3 * gain,
                }
            )  # fmt: skip
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def figure():
    return tempered(table(), synthetic.frontier(), synthetic.best_of_n(), Look())


def test_the_limit_goes_through_the_tables_points_and_is_dashed_where_not_reliable(figure):
    x, y = line(figure, "tempered")
    for kl in (k for k in KLS if k <= 4):
        assert y[np.flatnonzero(x == kl)[0]] == pytest.approx(np.sqrt(2 * kl))
    assert np.nanmax(x) == 4.0
    x, _ = line(figure, "tempered:unreliable")
    assert (np.nanmin(x), np.nanmax(x)) == (4.0, 6.0)


def test_the_per_prompt_limit_is_blue_and_bounds_stand_where_the_average_one_is_not_reliable(figure):
    x, y = line(figure, "per-prompt")
    assert y[np.flatnonzero(x == 2.0)[0]] == pytest.approx(0.9 * 2)
    assert {g for g in gids(figure) if g.startswith("bounds:")} == {"bounds:6"}
    assert line(figure, "bounds:6")[1] == pytest.approx(np.array([0.7, 1.3]) * np.sqrt(12))
    keys = {t.get_text() for t in figure.legends[0].get_texts()}
    assert {"the same, KL bounded per prompt", "limit, at least and at most"} <= keys


def test_levels_and_best_of_n_are_at_their_kl_and_at_their_cost(figure):
    x, y = line(figure, "levels")
    assert x.tolist() == [0.3, 1.2, 2.7]
    assert y.tolist() == pytest.approx(np.sqrt(2 * x).tolist())
    assert line(figure, "levels-not-reliable")[0].tolist() == [5.0]
    x, y = line(figure, "levels-cost", axes=1)
    assert x.tolist() == [20.0, 50.0, 80.0]
    assert y.tolist() == pytest.approx((0.95 * np.sqrt(2 * np.array([0.3, 1.2, 2.7]))).tolist())
    cost = np.concatenate([line(figure, name, axes=1)[0] for name in ("best-of-n-cost", "best-of-n-cost-not-reliable")])
    own = synthetic.best_of_n().filter(
        (pl.col("optimized") == "gold") & (pl.col("evaluated") == "gold") & (pl.col("method") == "best-of-n")
        & (pl.col("budget") == "average")
    )  # fmt: skip
    assert sorted(cost) == pytest.approx(sorted(BASE_TOKENS * n for n in own["n"]))


@pytest.mark.parametrize("reach", [0.1, 9.0])
def test_nothing_or_all_reliable_is_drawn_too(reach):
    drawn = tempered(table(reach), synthetic.frontier(), synthetic.best_of_n(), Look())
    assert {"tempered", "levels", "levels-cost"} <= set(gids(drawn))
    assert not cut_off(drawn)


def test_no_text_overlaps_at_either_width(figure):
    for width in (3.4, 7.0):
        drawn = tempered(table(), synthetic.frontier(), synthetic.best_of_n(), Look(width=width))
        assert not overlaps(drawn)
        assert not cut_off(drawn)
    assert "new tokens drawn for one reply" in {t.get_text() for t in texts(figure)}

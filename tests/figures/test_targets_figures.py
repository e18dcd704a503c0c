"""The figures of distances to a target say what the tables say."""

import math

import numpy as np
import polars as pl
import pytest
import synthetic
from learned import BASE, DISTANCE, EXACT, SIZES, TARGETS_TABLE
from matplotlib.colors import to_hex
from reading import cut_off, gids, line, overlaps, texts

from alignment_limits.policies.target import chosen, distances, main_setting
from alignment_limits.report.figures.style import BEST_OF_N, Look, save
from alignment_limits.report.figures.targets import style, target_plane, targets


def rows(exact=None):
    return chosen(main_setting(distances(TARGETS_TABLE, exact)))


@pytest.fixture(scope="module")
def figure():
    return targets(rows(), Look())


def test_every_policy_stands_at_its_pairs_and_its_distance(figure):
    for axes, quantity, factor in ((0, "forward_kl", 1.0), (2, "reverse_kl", 1.2)):
        for objective, each in DISTANCE.items():
            for n, value in zip(SIZES, each, strict=True):
                x, y = line(figure, f"{quantity}:{objective}-{n}-0.5-s1", axes)
                assert (x[0], y[0]) == pytest.approx((n, 1.02 * factor * value))
            x, y = line(figure, f"mean:{objective}", axes)
            assert list(x) == list(SIZES)
            assert y == pytest.approx(1.01 * factor * np.array(each))
        assert line(figure, "base", axes)[1][0] == pytest.approx(factor * BASE)
    assert not {g for g in gids(figure) if "-0.1-s" in g or "noisy" in g}, "one coefficient, one setting"


def test_policies_without_pairs_stand_beside(figure):
    assert line(figure, "forward_kl:ppo-a", 1)[1][0] == pytest.approx(0.08)
    assert line(figure, "forward_kl:brought", 1)[1][0] == pytest.approx(0.02)
    assert figure.axes[1].get_ylim() == figure.axes[0].get_ylim()


def test_what_is_not_reliable_is_hollow_and_what_is_not_above_zero_an_arrow():
    lost = pl.col("policy") == "pmle-4096-0.5-s0"
    table = TARGETS_TABLE.with_columns(
        pl.when(lost).then(pl.col(c) - 0.1).otherwise(pl.col(c)) for c in ("estimate", "low", "high")
    )
    drawn = targets(chosen(main_setting(distances(table, None))), Look())
    marks = {x.get_gid(): x for ax in drawn.axes[:2] for x in ax.get_lines() if x.get_gid()}
    assert marks["forward_kl:brought"].get_markerfacecolor() == "white"
    assert marks["forward_kl:ppo-a"].get_markerfacecolor() != "white"
    assert marks["forward_kl:pmle-4096-0.5-s0"].get_marker() == "v"
    low = drawn.axes[0].get_ylim()[0]
    assert low < marks["forward_kl:pmle-4096-0.5-s0"].get_ydata()[0] < 0.025


def test_exact_values_are_drawn_without_bars():
    drawn = targets(rows(EXACT), Look())
    assert line(drawn, "forward_kl:dpo-256-0.5-s0")[1][0] == pytest.approx(0.45)
    assert not drawn.axes[0].collections


@pytest.mark.parametrize(
    "kept", [pl.col("pairs").is_null(), pl.col("pairs").is_not_null() | (pl.col("policy") == "base")]
)
def test_a_study_may_have_only_policies_with_pairs_or_only_without(kept):
    drawn = targets(rows().filter(kept), Look())
    assert len(drawn.axes) == 2
    assert not cut_off(drawn)


@pytest.mark.parametrize("size", [(3.4, 8), (7, 10)])
def test_texts_are_whole_and_apart(size):
    look = Look(width=size[0], font_size=size[1])
    for drawn in (targets(rows(), look), plane(look)):
        assert not overlaps(drawn)
        assert not cut_off(drawn)


def placed():
    """Where each policy stands: one third of the limit's KL a pair size, the same gain."""
    known = rows().filter((pl.col("quantity") == "forward_kl") & (pl.col("policy") != "base"))
    one = synthetic.policies(("gold",)).filter(pl.col("policy") == "ppo-b")
    found = []
    for i, r in enumerate(known.iter_rows(named=True)):
        kl = 0.2 + 0.05 * i
        values = {"policy": r["policy"], "kl": kl, "gain": 0.7 * math.sqrt(2 * kl)}
        ends = {f"{k}{e}": values[k] + s for k in ("kl", "gain") for e, s in (("_low", -0.02), ("_high", 0.02))}
        found.append(one.with_columns(**{k: pl.lit(v) for k, v in (values | ends).items()}))
    return pl.concat(found)


def plane(look):
    return target_plane(
        rows(), (0.5, 1.0), placed(), synthetic.frontier(), synthetic.best_of_n(), look, evaluated="gold"
    )


def test_the_plane_has_limit_best_of_n_target_and_every_policy(tmp_path):
    drawn = plane(Look())
    x, y = line(drawn, "limit")
    assert y[x == 1.0] == pytest.approx(math.sqrt(2))
    assert len(line(drawn, "gain:best-of-n")[0]) > 2
    assert [v[0] for v in line(drawn, "target")] == [0.5, 1.0]
    marks = {}
    for r in placed().iter_rows(named=True):
        x, y = line(drawn, f"gain:{r['policy']}")
        assert (x[0], y[0]) == pytest.approx((r["kl"], r["gain"]))
        (found,) = [m for m in drawn.axes[0].get_lines() if m.get_gid() == f"gain:{r['policy']}"]
        marks[r["policy"]] = found.get_color(), found.get_marker()
    assert marks["dpo-256-0.5-s0"][0] == marks["dpo-4096-0.5-s0"][0] != marks["pmle-256-0.5-s0"][0]
    assert marks["dpo-256-0.5-s0"][1] == marks["pmle-256-0.5-s0"][1] != marks["dpo-4096-0.5-s0"][1]
    assert marks["ppo-a"][1] == "x"
    words = [t.get_text() for t in texts(drawn)]
    assert {"limit", "best-of-n", "target", "DPO", "reverse KL", "n = 4,096", "no pairs"} <= set(words)
    save(drawn, Look(), tmp_path / "a.png")
    save(plane(Look()), Look(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_every_objective_has_a_colour_and_a_marker_of_its_own():
    names = ["reverse-kl", "pmle", "distillation", "dpo", "exact", "ppo", "grpo", "rloo", "best-of-n"]
    found = [style(name, names, Look()) for name in names]
    assert len({tuple(colour) for colour, _ in found}) == len({marker for _, marker in found}) == len(names)
    assert not any(to_hex(colour) == BEST_OF_N for colour, _ in found)
    assert style("dpo", ["dpo"], Look()) == style("dpo", names, Look()), "the same in every figure"

"""The figure of training curves says what the table says."""

import numpy as np
import polars as pl
import pytest
from reading import gids, line, overlaps, texts

from alignment_limits.report.figures.policies import training_curves
from alignment_limits.report.figures.style import Look, save

STEPS = 40


def table(every=1):
    rows = []
    for coefficient in (0.1, 1.0):
        for seed in (0, 1):
            for step in range(STEPS):
                rise = (1 - np.exp(-step / 10)) / (1 + coefficient)
                read = step % every == 0
                rows.append(
                    {
                        "policy": f"grpo-gold-{coefficient}-s{seed}",
                        "objective": "grpo",
                        "optimized": "gold",
                        "coefficient": coefficient,
                        "seed": seed,
                        "step": step,
                        "reward": rise + 0.1 * seed,
                        "kl": rise**2 if read else None,
                        "length": 10.0 - rise,
                        "entropy": 30 - rise if read else None,
                    }
                )
    return pl.DataFrame(rows)


def test_a_line_is_the_mean_over_seeds_and_the_last_twentieth_of_the_run():
    figure = training_curves(table(), Look())
    for panel, name in enumerate(("reward", "kl", "length", "entropy")):
        for coefficient in (0.1, 1.0):
            x, y = line(figure, f"{name}:{coefficient:g}", panel)
            rows = table().filter(pl.col("coefficient") == coefficient).group_by("step").agg(pl.col(name).mean())
            values = rows.sort("step")[name].to_numpy()
            assert x.tolist() == list(range(STEPS))
            assert y[0] == pytest.approx(values[0])
            assert y[1:] == pytest.approx((values[1:] + values[:-1]) / 2)


def test_steps_without_a_kl_are_left_out():
    figure = training_curves(table(every=8), Look())
    assert line(figure, "kl:1", 1)[0].tolist() == [0, 8, 16, 24, 32]
    assert len(line(figure, "reward:1", 0)[0]) == STEPS


def test_coefficients_are_named_and_nothing_overlaps(tmp_path):
    figure = training_curves(table(), Look())
    save(figure, Look(), tmp_path / "curves.png", tmp_path / "curves.pdf")
    assert {"KL coefficient", "0.1", "1", "training step"} <= {t.get_text() for t in texts(figure)}
    assert not overlaps(figure)
    assert len(gids(figure)) >= 8


def test_the_ends_of_runs_are_marked_where_a_rule_decided_them():
    ends = pl.when(pl.col("coefficient") == 1).then(pl.lit("cut short")).otherwise(pl.lit("converged"))
    figure = training_curves(table().with_columns(ended=ends), Look())
    assert {"converged", "cut short"} <= {t.get_text() for t in texts(figure)}
    for panel, name in enumerate(("reward", "kl", "length", "entropy")):
        for end in ("converged", "cut short"):
            marks = [m for m in figure.axes[panel].get_lines() if m.get_gid() == f"{name}:{end}"]
            assert [m.get_xdata()[0] for m in marks] == [STEPS - 1, STEPS - 1], "one for each seed"
    fixed = training_curves(table().with_columns(ended=pl.lit("fixed")), Look())
    assert not {"converged", "cut short", "fixed"} & {t.get_text() for t in texts(fixed)}

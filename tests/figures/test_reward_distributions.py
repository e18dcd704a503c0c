"""One row per reward: its histogram, its correlation with gold."""

import numpy as np
import polars as pl
import pytest
import synthetic
from reading import cut_off, overlaps, smallest, texts

from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.figures.rewards import reward_distributions
from alignment_limits.report.figures.style import Look

LOOK = Look(names=(*synthetic.RHO, *synthetic.ENSEMBLES))
SCORES = synthetic.standardised()
AGREEMENT = within_prompt_spearman(SCORES, "gold", LOOK.names, replicates=200)


@pytest.fixture(scope="module")
def figure():
    return reward_distributions(SCORES, AGREEMENT, LOOK)


def stairs(figure, name):
    (found,) = [p for p in figure.axes[0].patches if p.get_gid() == name]
    return found.get_data()


def test_heights_are_root_densities_over_a_common_unit(figure):
    units = []
    for name in ("gold", "vader", "minilm"):
        values, edges, base = stairs(figure, name)
        counts, _ = np.histogram(np.clip(SCORES[name].to_numpy(), edges[0], edges[-1]), edges)
        height = values - np.asarray(base)
        used = counts > 0
        units.append(height[used] / np.sqrt(counts[used]))
    for unit in units:
        np.testing.assert_allclose(unit, units[0][0])


def test_no_sample_is_lost_at_the_edges(figure):
    values, edges, base = stairs(figure, "gold")
    density = (values - np.asarray(base)) ** 2
    other, _, under = stairs(figure, "minilm")
    assert density.sum() == pytest.approx(((other - np.asarray(under)) ** 2).sum())
    assert edges[0] <= -3


def test_gold_first_then_by_correlation(figure):
    shown = [t.get_text().replace("\n", "") for t in figure.axes[0].get_yticklabels()]
    assert shown == ["gold", *AGREEMENT.sort("spearman", descending=True)["reward"]]


def test_correlations_are_printed(figure):
    drawn = {t.get_text() for t in texts(figure)}
    for value in AGREEMENT["spearman"]:
        assert f"{value:.2f}" in drawn


@pytest.mark.parametrize(("width", "size"), [(3.4, 8), (7.0, 9)])
def test_readable(width, size):
    drawn = reward_distributions(SCORES, AGREEMENT, Look(width=width, font_size=size, names=LOOK.names))
    assert smallest(drawn) >= 6
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []


def test_constant_and_far_out_scores_are_drawn():
    odd = SCORES.with_columns(vader=pl.lit(0.0), minilm=pl.col("minilm") * 40)
    agreement = within_prompt_spearman(odd, "gold", LOOK.names, replicates=200)
    drawn = reward_distributions(odd, agreement, LOOK)
    assert "–" in {t.get_text() for t in texts(drawn)}
    assert drawn.axes[0].get_xlim() == (-6, 6)


def test_rewards_missing_from_the_table_are_left_out():
    drawn = reward_distributions(SCORES.drop("vader"), AGREEMENT, LOOK)
    assert "vader" not in [t.get_text() for t in drawn.axes[0].get_yticklabels()]

"""The planner's promises, kept by the study it plans."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import limit_at, plan


def test_the_planned_study_reaches_its_width_and_is_reliable() -> None:
    rng = np.random.default_rng(0)
    kls = np.array([0.3, 1.0])
    planned = plan(rng.standard_normal((48, 64)), kls, half_width=0.03)
    prompts, samples = int(planned.prompts.max()), int(planned.samples.max())
    table = limit_at(rng.standard_normal((prompts, samples)), kls)
    assert table.reliable.all()
    reached = (table.gain_high - table.gain_low) / 2 / table.gain
    # The pilot's sd is itself uncertain, and falls with more samples: a generous band.
    assert reached.max() < 0.03 * 1.35
    assert reached.max() > 0.03 / 3


def test_more_kl_needs_more_samples_and_narrower_intervals_more_prompts() -> None:
    pilot = np.random.default_rng(1).standard_normal((64, 128))
    planned = plan(pilot, [0.2, 1.0, 2.0], half_width=0.04)
    assert np.all(np.diff(planned.samples) >= 0)
    finer = plan(pilot, [0.2, 1.0, 2.0], half_width=0.02)
    np.testing.assert_allclose(finer.prompts[2] / planned.prompts[2], 4, rtol=0.05)


def test_best_of_n_asks_for_sixteen_samples_per_draw() -> None:
    pilot = np.random.default_rng(2).standard_normal((64, 64))
    planned = plan(pilot, [0.1], most_draws=32)
    assert planned.samples[0] == 512
    assert "best-of-32" in planned.reason[0]


def test_what_the_pilot_cannot_show_gets_a_lower_bound_and_no_promise() -> None:
    planned = plan(np.random.default_rng(3).standard_normal((32, 32)), [5.0])
    assert np.isnan(planned.prompts[0])
    assert planned.samples[0] >= 4 * np.exp(5)
    assert "cannot show" in planned.reason[0]


def test_heavy_tails_get_no_promise_and_no_verdict_with_any_number_of_prompts() -> None:
    r = np.random.default_rng(4).standard_exponential((600, 64))
    planned = plan(r[:64], [0.05])
    assert np.isnan(planned.prompts[0])
    assert "heavy upper tail" in planned.reason[0]
    assert "heavy upper tail" in limit_at(r, [0.05]).reason[0]


def test_pilots_too_small_are_refused() -> None:
    with pytest.raises(EstimateError, match="8 prompts x 64"):
        plan(np.ones((8, 64)), [0.1])
    with pytest.raises(EstimateError, match="must be positive"):
        plan(np.random.default_rng(0).random((16, 16)), [0.1], half_width=0)

"""The stopping rule: on curves that are known, and in training, where a killed run stops at the same step."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from alignment_limits.training.convergence import ending, has_converged, look, objective
from alignment_limits.training.run import Progress

PATIENCE = 50


def rows(mean, spread, seed, steps=600, every=5):
    """A curve with this mean 𝒥 at each step; at β = 2, half of it is KL."""
    values = mean(np.arange(steps)) + spread * np.random.default_rng(seed).normal(size=steps)
    return [{"step": t, "reward": 2 * v} | ({"kl": v / 2} if t % every == 0 else {}) for t, v in enumerate(values)]


def stopped(curve):
    """The step at which it stops; 0 if it does not."""
    return next((t for t in range(1, len(curve) + 1) if has_converged(curve[:t], 2.0, PATIENCE)), 0)


def ends(mean, spread=0.1, runs=8):
    return np.array([stopped(rows(mean, spread, seed)) for seed in range(runs)])


def test_the_objective_is_reward_minus_beta_kl_at_measured_steps():
    steps, values = objective(rows(lambda t: t, 0, 0, steps=11), 2.0)
    assert steps.tolist() == [0, 5, 10]
    assert values.tolist() == [0 - 0, 2 * 3 - 5, 2 * 8 - 10]


def test_a_noisy_plateau_stops_within_six_times_the_patience_and_not_before_three():
    found = ends(lambda t: 0.4 + 0 * t)
    assert (found >= 3 * PATIENCE).all()
    assert (found <= 6 * PATIENCE).all(), found


def test_a_curve_that_saturates_stops_where_nothing_is_left_to_gain():
    found = ends(lambda t: 0.4 * (1 - np.exp(-t / 60)))
    assert (found > 0).all()
    assert (1 - np.exp(-found / 60)).min() > 0.9, found


def test_a_curve_that_still_rises_slowly_does_not_stop():
    """By 0.07 a window, two standard errors of a window's noise."""
    assert not ends(lambda t: 0.8 * t / 600, 0.1).any()


def test_a_curve_that_never_leaves_the_base_does_not_count_as_converged():
    assert (ends(lambda t: 0.0 * t, 0.1) == 0).mean() >= 0.7
    assert not ends(lambda t: 0.0 * t, 0.0, 1).any()


def test_a_curve_without_noise_stops_as_soon_as_it_may():
    assert stopped(rows(lambda t: 0.4 + 0 * t, 0.0, 0)) in range(3 * PATIENCE, 3 * PATIENCE + 6)


def test_windows_grow_with_the_run():
    steps = np.arange(400.0)
    assert [look(steps, steps, done, 50).window for done in (100, 200, 400)] == [50, 50, 100]
    assert look(steps, steps, 99, 50) is None
    trend = look(steps, 0.01 * steps, 100, 50)
    assert trend.change == pytest.approx(0.5)
    assert trend.noise == pytest.approx(np.sqrt(0.01**2 / 2 * 2 / 50)), "a trend hardly counts as noise"
    assert not trend.flat


def test_how_a_run_ended():
    plateau = rows(lambda t: 0.4 + 0 * t, 0.0, 0)
    settings = {"objective": "rloo", "steps": 600, "coefficient": 2.0, "stop": {"patience": PATIENCE}}
    short, full = plateau[:101], plateau[: stopped(plateau)]
    assert ending(short, settings)["ended"] == "cut short"
    assert ending(full, settings) | {"noise": 0} == {
        "ended": "converged", "steps": len(full), "window": 50, "objective": pytest.approx(0.4),
        "change": pytest.approx(0, abs=1e-12), "noise": 0,
    }  # fmt: skip
    assert ending(short, settings | {"stop": None}) == {"ended": "fixed", "steps": 101}


@pytest.mark.parametrize("objective", ["ppo", "rloo"])
def test_training_stops_when_the_rule_says_so_and_a_killed_run_stops_there_too(world, run, monkeypatch, objective):
    settings = {"objective": objective, "steps": 60, "stop": {"patience": 4}, "coefficient": 1.0, "batch": 64}
    settings |= {"group": 8} if objective == "rloo" else {}
    whole, folder = run(world, name="whole", **settings)
    assert 12 <= len(whole) < 60
    converged = [has_converged(whole[:t], 1.0, 4) for t in range(1, len(whole) + 1)]
    assert converged == [False] * (len(whole) - 1) + [True]

    measure = Progress.measure

    def killed(self, *arguments):
        if len(self.rows) == 8:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Progress, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run(world, name="killed", every=0.0, **settings)
    monkeypatch.setattr(Progress, "measure", measure)
    resumed, again = run(world, name="killed", **settings)
    assert resumed == whole
    weights = [load_file(made / "adapter_model.safetensors") for made in (folder, again)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])

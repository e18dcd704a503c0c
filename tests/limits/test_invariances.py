"""Invariances any estimate must have, over random inputs (hypothesis)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment_limits.limits import CorrectedCurve, best_of_n, frontier, limit_at, proxy_gap, tilt
from alignment_limits.limits.samples import quarter

FEW = settings(max_examples=15, deadline=None, derandomize=True)
KLS = np.array([0.1, 0.8])


@st.composite
def scores(draw: st.DrawFn) -> np.ndarray:
    """Ragged, differently scaled prompts, with ties or without."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prompts, samples = draw(st.integers(17, 30)), draw(st.integers(16, 40))
    r = rng.lognormal(size=(prompts, 1)) * rng.standard_normal((prompts, samples))
    if draw(st.booleans()):
        r = np.round(2 * r) / 2
    if draw(st.booleans()):
        r[: prompts // 2, samples - 5 :] = np.nan
    return r


def numbers(table: object) -> dict[str, np.ndarray]:
    columns = table.columns()  # type: ignore[attr-defined]
    return {name: column for name, column in columns.items() if column.dtype.kind == "f"}


def assert_same(first: object, second: object, skip: tuple[str, ...] = ()) -> None:
    other = numbers(second)
    for name, column in numbers(first).items():
        if name not in skip:
            np.testing.assert_allclose(other[name], column, rtol=2e-6, atol=1e-8, err_msg=name)


@FEW
@given(scores(), st.sampled_from(["average", "per-prompt"]))
def test_offsets_per_prompt_change_nothing(r: np.ndarray, budget: str) -> None:
    moved = r + np.linspace(-4, 4, len(r))[:, None]  # an exact shift of ties: both sides round alike
    first = limit_at(r, KLS, budget=budget, replicates=100)
    assert_same(first, limit_at(moved, KLS, evaluated=moved, budget=budget, replicates=100))


@FEW
@given(scores(), st.sampled_from([0.125, 8.0]))
def test_scaling_reward_and_beta_together_scales_gains_and_keeps_kl(r: np.ndarray, factor: float) -> None:
    betas = np.array([3.0, 0.7])
    first = frontier(r, {"own": r}, betas=betas, kls=KLS, replicates=100)["own"]
    scaled = frontier(r * factor, {"own": r * factor}, betas=betas * factor, kls=KLS, replicates=100)["own"]
    for name in ("kl", "kl_low", "kl_high", "kl_reverse", "ess", "pareto_k"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(first, name), rtol=1e-6, atol=1e-8)
    for name in ("gain", "gain_low", "gain_high", "gain_plugin", "beta"):
        np.testing.assert_allclose(getattr(scaled, name), factor * getattr(first, name), rtol=1e-6, atol=1e-8)


@FEW
@given(scores(), st.integers(0, 2**32 - 1))
def test_order_of_samples_does_not_matter(r: np.ndarray, seed: int) -> None:
    order = np.argsort(np.random.default_rng(seed).random(r.shape), axis=1)
    shuffled = np.take_along_axis(r, order, axis=1)
    assert_same(limit_at(r, KLS, replicates=100), limit_at(shuffled, KLS, replicates=100))
    ns = [1, 3]
    first = best_of_n(r, {"own": r}, ns=ns, replicates=100)["own"]
    assert_same(first, best_of_n(shuffled, {"own": shuffled}, ns=ns, replicates=100)["own"])


@FEW
@given(scores(), st.integers(0, 2**32 - 1))
def test_order_of_prompts_does_not_matter_to_point_estimates(r: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(r))
    first = frontier(r, {"own": r}, kls=KLS, replicates=100, keys=np.arange(len(r)))["own"]
    other = frontier(r[order], {"own": r[order]}, kls=KLS, replicates=100, keys=order)["own"]
    # Intervals differ by the draws of the bootstrap only.
    assert_same(first, other, skip=("gain_low", "gain_high"))


@FEW
@given(scores())
def test_duplicating_every_prompt_changes_no_plugin_estimate(r: np.ndarray) -> None:
    twice = np.concatenate([r, r])
    for budget in ("average", "per-prompt"):
        first, second = (limit_at(a, KLS, budget=budget, replicates=100) for a in (r, twice))
        np.testing.assert_allclose(second.gain_plugin, first.gain_plugin, rtol=1e-7)
    first, second = (tilt(a, {"own": a}, [1.0])["own"].gain.mean(axis=0) for a in (r, twice))
    np.testing.assert_allclose(second, first, rtol=1e-12)


@FEW
@given(scores())
def test_the_limit_is_concave_and_bounds_any_other_reward_s_tilt(r: np.ndarray) -> None:
    grid = np.linspace(0.05, 1.0, 12)
    table = limit_at(r, grid, replicates=100)
    known = np.isfinite(table.gain_plugin)
    slopes = np.diff(table.gain_plugin[known]) / np.diff(grid[known])
    assert np.all(np.diff(slopes) <= 1e-9)
    noisy = r + np.sin(37 * np.nan_to_num(r)) + np.where(np.isnan(r), np.nan, 0.0)
    other = limit_at(noisy, grid, evaluated=r, replicates=100)
    both = known & np.isfinite(other.gain_plugin)
    assert np.all(other.gain_plugin[both] <= table.gain_plugin[both] + 1e-9)


@FEW
@given(scores(), st.integers(0, 2**32 - 1))
def test_proxy_gap_is_between_zero_and_its_bound(r: np.ndarray, seed: int) -> None:
    proxy = r + np.random.default_rng(seed).uniform(-0.5, 0.5, r.shape)
    table = proxy_gap(proxy, r, betas=[2.0, 0.5, 0.05], replicates=100)
    assert np.all(table.gap_plugin >= 0)
    assert np.all(table.gap_plugin <= table.gap_bound + 1e-12)


@pytest.mark.parametrize("n", [2, 5])
def test_best_of_n_by_a_monotone_transform_is_the_same_choice(n: int) -> None:
    r = np.random.default_rng(0).standard_normal((20, 30))
    first = best_of_n(r, {"gold": r}, ns=[n])["gold"]
    other = best_of_n(np.exp(3 * r), {"gold": r}, ns=[n])["gold"]
    np.testing.assert_allclose(
        [other.gain, other.kl, other.win_rate], [first.gain, first.kl, first.win_rate], rtol=1e-12
    )


def test_tied_samples_are_dealt_by_what_else_is_known_of_them() -> None:
    """In whatever order they come, though no two tie for the lowest score."""
    rng = np.random.default_rng(0)
    scores = np.tile([0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0], (5, 2))
    scores[:, 8] = -1.0
    other = rng.standard_normal(scores.shape)
    for _ in range(5):
        order = rng.permuted(np.tile(np.arange(16), (5, 1)), axis=1)
        mixed = [np.take_along_axis(a, order, axis=1) for a in (scores, other)]
        one, two = quarter(scores, [other]), quarter(mixed[0], [mixed[1]])
        np.testing.assert_array_equal(one.rewards, two.rewards)
        np.testing.assert_allclose(one.features, two.features, atol=1e-14)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_rewards_in_extreme_units_have_their_curve_in_those_units(scale: float) -> None:
    r = np.random.default_rng(1).standard_normal((20, 64))
    plain, scaled = (CorrectedCurve(a).at(np.array([0.2, 0.6])) for a in (r, scale * r))
    for column, power in (("values", 1), ("slope", 1), ("beta", 1), ("inverse", -1), ("ess", 0), ("reverse", 0)):
        expected = scale**power * getattr(plain, column)
        np.testing.assert_allclose(getattr(scaled, column), expected, rtol=1e-9, err_msg=column)

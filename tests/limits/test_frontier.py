"""Frontier tables: exact solutions in sample, closed forms within error, verdicts, and the two budgets."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import WORLDS, CorrectedCurve, PromptBootstrap, frontier, limit_at, tilt
from alignment_limits.limits.bootstrap import interval_at_beta
from alignment_limits.limits.correction import extrapolate_at_beta, left_at_beta, slowness, smallest_ess

KLS = np.array([0.05, 0.3, 1.0, 2.0])


def gaussian(prompts: int = 96, samples: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((prompts, samples))


def plugin_limit(r: np.ndarray, kappa: float) -> tuple[float, float]:
    """G*(kappa) from the same samples by bisection on lambda."""
    low, high = 1e-6, 1e4
    for _ in range(200):
        middle = np.sqrt(low * high)
        table = tilt(r, {"own": r}, [1 / middle])["own"]
        low, high = (middle, high) if table.kl.mean() < kappa else (low, middle)
    return float(table.gain.mean()), 1 / middle


def test_plugin_gain_at_a_budget_equals_bisection_on_lambda() -> None:
    r = gaussian(30, 64) * np.random.default_rng(1).lognormal(size=(30, 1))
    table = limit_at(r, KLS)
    for kappa, gain in zip(KLS, table.gain_plugin, strict=True):
        np.testing.assert_allclose(gain, plugin_limit(r, kappa)[0], rtol=1e-9)


def test_plugin_gain_of_another_reward_is_read_at_the_same_lambda() -> None:
    r = gaussian(30, 64)
    v = np.tanh(r) + 0.3 * gaussian(30, 64, seed=5)
    table = limit_at(r, KLS, evaluated=v)
    for kappa, gain in zip(KLS, table.gain_plugin, strict=True):
        beta = plugin_limit(r, kappa)[1]
        np.testing.assert_allclose(gain, tilt(r, {"v": v}, [beta])["v"].gain.mean(), rtol=1e-9)


def test_per_prompt_plugin_is_the_mean_of_single_prompt_limits() -> None:
    r = gaussian(12, 64) * np.geomspace(0.1, 10, 12)[:, None]
    table = limit_at(r, KLS, budget="per-prompt")
    alone = [[plugin_limit(row[None], kappa)[0] for kappa in KLS] for row in r]
    np.testing.assert_allclose(table.gain_plugin, np.mean(alone, axis=0), rtol=1e-5)


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_gaussian_limit_lies_in_its_interval_where_reliable(budget: str) -> None:
    table = limit_at(gaussian(200, 512), KLS, budget=budget)
    truth = np.sqrt(2 * KLS)
    assert table.reliable[:3].all()
    assert np.all((table.gain_low <= truth) & (truth <= table.gain_high))
    assert np.all(np.abs(table.gain - truth) < np.abs(table.gain_plugin - truth))


def test_two_budgets_differ_by_the_heterogeneity_of_spread() -> None:
    rng = np.random.default_rng(2)
    sd = rng.lognormal(sigma=0.6, size=(400, 1))
    r = sd * rng.standard_normal((400, 256))
    average, each = limit_at(r, [0.5]), limit_at(r, [0.5], budget="per-prompt")
    expected = sd.mean() / np.sqrt(np.mean(sd**2))
    np.testing.assert_allclose(each.gain / average.gain, expected, rtol=0.02)


def test_rows_at_beta_keep_gain_equal_to_beta_times_jeffreys_after_correction() -> None:
    r = gaussian()
    betas = [3.0, 1.0, 0.5]
    table = frontier(r, {"own": r}, betas=betas)["own"]
    np.testing.assert_allclose(table.gain, table.beta * (table.kl + table.kl_reverse), rtol=1e-9)
    plain = tilt(r, {"own": r}, betas)["own"]
    np.testing.assert_allclose(table.gain_plugin, plain.gain.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(table.kl_plugin, plain.kl.mean(axis=0), rtol=1e-12)


def test_rows_at_beta_cover_the_gaussian_truth_and_steep_tilts_have_wide_intervals() -> None:
    r = gaussian(200, 512)
    table = frontier(r, {"own": r}, betas=[2.0, 1.0, 0.4, 0.1])["own"]
    inverse = 1 / table.beta
    assert table.reliable.tolist() == [True, True, True, False]  # at 0.4 KL is 3.1 nats, half of log M; at 0.1 50
    assert np.all(((table.kl_low <= inverse**2 / 2) & (inverse**2 / 2 <= table.kl_high))[:3])
    assert np.all(((table.gain_low <= inverse) & (inverse <= table.gain_high))[:3])
    wide = (table.gain_high - table.gain_low) / table.gain
    assert wide[2] > 2 * wide[1]


def test_correction_at_a_fixed_beta_removes_bias_in_1_over_m_and_its_square_exactly() -> None:
    truth = np.random.default_rng(3).standard_normal((5, 2, 3))
    levels = np.stack([truth + 0.7 * share + 0.4 * share**2 for share in (1 / 64, 1 / 32, 1 / 16)])
    np.testing.assert_allclose(extrapolate_at_beta(levels), truth, rtol=1e-12)


def test_the_bias_left_at_a_fixed_beta_follows_the_larger_step_and_prompts_with_few_effective_samples() -> None:
    levels = np.array([[4.0, 1.0], [3.0, 2.0], [1.0, 2.5]])[:, None, None]  # steps 1 and 2 up; 1 and 0.5 down
    levels = np.repeat(levels, 3, axis=1)
    ess = np.array([[16.0], [4.0], [np.nan]])
    slow = slowness(ess, np.full(3, 64))
    np.testing.assert_allclose(slow[:2, 0], [5 * 4 / 64, 5 * 4 / 8])
    left = left_at_beta(levels, ess, np.full(3, 64))
    np.testing.assert_allclose(left[:2, 0], slow[:2] * [2.0, -1.0])
    np.testing.assert_allclose(left[2], left[:2].mean(axis=0))  # a prompt with too few samples: as the others
    np.testing.assert_allclose(smallest_ess(ess, np.array([1.0, 1.0, 0.0])), ((1 / 64 + 1 / 8) / 2) ** (-2 / 3))
    assert smallest_ess(ess, np.zeros(3)) == np.inf


def test_intervals_at_a_fixed_beta_end_beyond_the_bias_that_may_be_left() -> None:
    """The side in the direction of the bias ends where that of values + left ends; the other hardly moves."""
    rng = np.random.default_rng(0)
    values, left = rng.normal(size=(2, 400, 1))
    boot = PromptBootstrap(400)
    low, high = boot.interval(values)
    for sign in (1, -1):
        bias = sign * (1 + 0.1 * left)
        least, most = interval_at_beta(boot, values, bias)
        far, near = (most - high, low - least) if sign > 0 else (low - least, most - high)
        np.testing.assert_allclose(far, 1, atol=0.05)
        np.testing.assert_allclose(near, np.hypot(0.25, 0.1) - 0.1, atol=0.02)


def test_the_verdict_at_a_fixed_beta_is_not_a_coin_flip() -> None:
    """64 samples, whatever the seed: all rows up to half of the ceiling are reliable, and nothing is at 30 nats."""
    world = WORLDS["bernoulli"]
    told = []
    for seed in range(12):
        r = gaussian(256, 64, seed)
        betas = [1 / np.sqrt(2 * 2.0), 1 / np.sqrt(2 * 30.0)]
        hits = world.draw(np.random.default_rng(seed), 256, 64)
        steep = [1 / world.inverse_at(0.41), 1 / world.inverse_at(1.15)]
        tables = [frontier(r, {"own": r}, betas=betas), frontier(hits, {"own": hits}, betas=steep)]
        told.append([flag for table in tables for flag in table["own"].reliable])
    share = np.mean(told, axis=0)
    assert share[0] == share[2] == share[3] == 1
    assert share[1] == 0


def test_quarters_without_a_hit_make_the_interval_longer() -> None:
    """One quarter of 16 in six has no reward of 1: the correction is uncertain, and its bound is in the interval."""
    world = WORLDS["bernoulli"]
    few = world.draw(np.random.default_rng(0), 512, 64)
    table = limit_at(few, [0.4], budget="per-prompt")
    points = CorrectedCurve(few, budget="per-prompt").at(np.array([0.4]))
    alone = np.diff([end[0, 0] for end in PromptBootstrap(512).interval(points.values)])[0]
    assert points.correction.ratio[0] > 2.6
    assert table.reliable[0]
    assert table.gain_low[0] <= world.limit(0.4) <= table.gain_high[0]
    assert table.gain_high[0] - table.gain_low[0] > 1.05 * alone


def test_an_evaluated_reward_equal_to_the_optimized_one_changes_nothing() -> None:
    r = gaussian(40, 64)
    other = r + gaussian(40, 64, 9)
    both = frontier(r, {"own": r.copy(), "other": other}, betas=[1.0], kls=[0.5])
    alone = frontier(r, {"other": other}, betas=[1.0], kls=[0.5])
    np.testing.assert_array_equal(both["other"].gain, alone["other"].gain)
    np.testing.assert_allclose(both["own"].gain[1], CorrectedCurve(r).at(np.array([0.5])).values[..., 0].mean())


def test_beyond_the_ceiling_there_is_nan_and_a_reason_not_a_number() -> None:
    for budget in ("average", "per-prompt"):
        table = limit_at(gaussian(40, 64), [1.0, 4.3], budget=budget)
        assert np.isnan(table.gain[1])
        assert not table.reliable[1]
        assert "beyond the largest KL" in table.reason[1]
        assert "4.16" in table.reason[1]


def test_ties_at_the_top_lower_the_ceiling() -> None:
    r = (gaussian(60, 64) > 0).astype(float)
    table = limit_at(r, [0.3, 1.0])
    assert np.isfinite(table.gain[0])
    assert np.isnan(table.gain[1])


def test_prompts_without_choice_gain_nothing_under_a_per_prompt_budget_which_is_known() -> None:
    r = gaussian(40, 64)
    r[:8] = 1.0
    table = limit_at(r, [0.5], budget="per-prompt")
    assert table.reliable[0]
    alone = limit_at(r[8:], [0.5], budget="per-prompt")
    np.testing.assert_allclose(table.gain_plugin, 0.8 * alone.gain_plugin, rtol=1e-9)


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_constant_and_single_sample_rewards_give_zero_gain_and_no_claim(budget: str) -> None:
    for r in (np.full((20, 32), 3.0), gaussian(20, 1)):
        table = limit_at(r, [0.5], budget=budget)
        assert not table.reliable[0]
        assert table.reason[0] == "constant reward: nothing to gain"
        assert table.gain[0] == 0


def test_zero_budget_gains_exactly_nothing() -> None:
    for budget in ("average", "per-prompt"):
        table = limit_at(gaussian(), [0.0], budget=budget)
        assert table.gain[0] == table.gain_low[0] == table.gain_high[0] == 0


def test_few_prompts_and_few_samples_are_not_reliable() -> None:
    assert "8 prompts" in limit_at(gaussian(8, 128), [0.2]).reason[0]
    assert "12 samples" in limit_at(gaussian(64, 12), [0.2]).reason[0]


def test_results_repeat_and_do_not_depend_on_the_order_of_samples() -> None:
    r = gaussian(50, 80)
    shuffled = np.random.default_rng(0).permuted(r, axis=1)
    first, again, other = (limit_at(a, KLS) for a in (r, r, shuffled))
    for name, column in first.columns().items():
        if column.dtype != object:
            np.testing.assert_array_equal(column, again.columns()[name])
            np.testing.assert_allclose(column.astype(float), other.columns()[name].astype(float), rtol=1e-9)


def test_keys_make_estimates_independent_of_the_order_of_prompts() -> None:
    r = gaussian(50, 80)
    order = np.random.default_rng(1).permutation(50)
    first = frontier(r, {"own": r}, kls=KLS, keys=np.arange(50))["own"]
    other = frontier(r[order], {"own": r[order]}, kls=KLS, keys=order)["own"]
    np.testing.assert_allclose(first.gain, other.gain, rtol=1e-9)


def test_ragged_prompts_equal_the_same_prompts_padded_differently() -> None:
    r = gaussian(40, 64)
    r[:10, 40:] = np.nan
    wide = np.full((40, 90), np.nan)
    wide[:, 20:84] = r
    np.testing.assert_allclose(limit_at(r, KLS).gain, limit_at(wide, KLS).gain, rtol=1e-9)


def test_nothing_to_estimate_and_unknown_budget_are_refused() -> None:
    r = gaussian(20, 20)
    with pytest.raises(EstimateError, match="Nothing to estimate"):
        frontier(r, {"own": r})
    with pytest.raises(EstimateError, match="'average' or 'per-prompt'"):
        limit_at(r, [1.0], budget="both")
    with pytest.raises(EstimateError, match="finite and at least 0"):
        limit_at(r, [-1.0])


def test_with_very_many_prompts_the_interval_is_what_the_correction_leaves() -> None:
    """The spread of 60,000 prompts is smaller than the bias that 64 samples per prompt may leave at 1.2 nats."""
    r = gaussian(60_000, 64)
    kls = np.array([0.2, 1.2])
    table, points = limit_at(r, kls, replicates=100), CorrectedCurve(r).at(kls)
    spread = 1.96 * points.values[..., 0].std(axis=0) / np.sqrt(60_000)
    width = (table.gain_high - table.gain_low) / 2
    assert table.reliable.all()
    assert (np.abs(table.gain - np.sqrt(2 * kls)) < width).all()
    assert width[1] > 1.1 * spread[1]
    assert width[0] < 1.05 * spread[0]


def test_the_lower_bound_is_below_the_limit_where_tails_forbid_an_estimate() -> None:
    """Exponential rewards: no row is reliable, and the bound holds; it shows most of the limit and does not fall."""
    kls = np.array([0.1, 0.5, 1.0, 2.0, 6.0])
    world = WORLDS["exponential"]
    truth = np.array([world.limit(kl) for kl in kls])
    below = []
    for seed in range(40):
        table = frontier(world.draw(np.random.default_rng(seed), 64, 64), kls=kls, seed=seed, replicates=200)
        assert not table.reliable[2:].any()
        assert np.all(np.diff(table.at_least) >= 0)
        below.append(table.at_least <= truth)
    assert np.mean(below, axis=0).min() >= 0.97
    assert table.at_least[0] > 0.8 * truth[0]
    assert np.isnan(table.gain[-1])
    assert table.at_least[-1] == table.at_least[-2], "beyond the ceiling: what is known below it"


def test_the_lower_bound_is_of_the_optimized_rewards_own_limit() -> None:
    rng = np.random.default_rng(0)
    r, v = rng.normal(size=(2, 64, 64))
    tables = frontier(r, {"own": r, "other": v}, betas=[1.0], kls=[0.5], replicates=200)
    assert np.isnan(tables["other"].at_least).all()
    assert 0 < tables["own"].at_least[0] < tables["own"].gain[0] - tables["own"].kl[0], "at a temperature, of the gain"
    assert np.isnan(tables["own"].at_most).all(), "no bounds were given"
    assert tables["own"].at_least[1] < tables["own"].gain_plugin[1] < tables["own"].gain[1]
    assert np.isnan(frontier(r[:15], kls=[0.5], replicates=200).at_least).all(), "too few prompts for any interval"


def test_every_quantity_of_a_row_has_its_own_verdict() -> None:
    """A given KL is always reliable, also where its gain is not."""
    r = gaussian(1000, 64)
    table = frontier(r, betas=[1.0, 0.1], kls=[0.2, 6.0], replicates=100)
    assert table.kl_reliable.tolist() == [True, False, True, True]
    assert table.gain_reliable.tolist() == [True, False, True, False]
    assert table.reliable.tolist() == [True, False, True, False]
    assert table.reason.tolist() == [k or g for k, g in zip(table.kl_reason, table.gain_reason, strict=True)]
    assert np.array_equal(table.kl_reason == "", table.kl_reliable)
    assert np.array_equal(table.gain_reason == "", table.gain_reliable)

"""Verdicts where prompts differ, tails are heavy or scores are levels: what is wrong is not called reliable."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import WORLDS, CorrectedCurve, best_of_n, frontier, limit_at
from alignment_limits.limits.reliability import (
    effective_number,
    freed_of_noise,
    judge,
    weighted_median,
)
from alignment_limits.limits.tails import tail_ratio, upper_kurtosis
from alignment_limits.limits.worlds import MIXTURES, pass_rates

KLS = [0.1, 0.5]


def drawn(name: str, seed: int = 0, prompts: int = 64, samples: int = 64) -> np.ndarray:
    return (WORLDS | MIXTURES)[name].draw(np.random.default_rng(seed), prompts, samples)


def reliable(name: str, budget: str, seeds: int, **size: int) -> float:
    tables = [limit_at(drawn(name, s, **size), KLS, budget=budget, replicates=100) for s in range(seeds)]
    return float(np.mean([table.reliable for table in tables]))


def test_a_few_wide_prompts_are_judged_by_their_own_samples() -> None:
    """They spend most of an average budget: at KL 1 their tilt rests on two samples, not on the others' forty."""
    kls = np.array([1.0, 1.5])
    table = limit_at(drawn("fewwide", prompts=256), kls, replicates=100)
    assert (table.ess < 5).all()
    truth = np.array([MIXTURES["fewwide"].limit(kl) for kl in kls])
    assert ((table.gain_low < truth) & (truth < table.gain_high)).all()
    assert (table.gain_high - table.gain_low > 0.3 * table.gain).all()  # of prompts that are alike it is 0.05


@pytest.mark.parametrize(("name", "prompts"), [("spread1.0", 64), ("spread0.6", 16)])
def test_reliable_limits_cover_as_often_as_all(name: str, prompts: int) -> None:
    """Rules on the effective sample size, or on how many prompts carry a limit, kept the studies that are too low."""
    kls = np.array([0.25, 1.0, 2.0])
    truth = np.array([MIXTURES[name].limit(kl) for kl in kls])
    tables = [limit_at(drawn(name, seed, prompts=prompts), kls, replicates=200) for seed in range(60)]
    held = np.array([(t.gain_low < truth) & (truth < t.gain_high) for t in tables])
    kept = np.array([t.reliable for t in tables])
    assert kept.mean() >= 0.8
    assert held[kept].mean() >= 0.88
    assert abs(held[kept].mean() - held.mean()) <= 0.02


@pytest.mark.parametrize(("name", "budget", "low", "high"), [
    ("gaussian", "average", 0.9, 1.0),
    ("uniform", "average", 0.9, 1.0),
    ("uniform", "per-prompt", 0.9, 1.0),
    ("spread0.3", "average", 0.9, 1.0),
    ("spread0.6", "average", 0.9, 1.0),
    ("spread1.0", "average", 0.8, 1.0),
    ("spread1.0", "per-prompt", 0.9, 1.0),
    ("student10", "average", 0.0, 0.05),
    ("student10", "per-prompt", 0.0, 0.05),
    ("passrates", "per-prompt", 0.9, 1.0),
    ("bernoulli", "average", 0.9, 1.0),
    ("bernoulli", "per-prompt", 0.9, 1.0),
    ("rubric1to10", "per-prompt", 0.9, 1.0),
    ("skewedleft", "average", 0.9, 1.0),
])  # fmt: skip
def test_how_often_a_limit_is_reliable(name: str, budget: str, low: float, high: float) -> None:
    assert low <= reliable(name, budget, 10) <= high


def test_marks_on_a_scale_have_no_tail_with_few_samples_either() -> None:
    """Of 32 marks from 1 to 10, the best eight may have five values: these prompts alone looked heavy-tailed."""
    assert reliable("rubric1to10", "average", 20, prompts=48, samples=32) >= 0.9


def test_sixteen_prompts_may_be_enough_and_eight_never_are() -> None:
    assert reliable("gaussian", "average", 10, prompts=16) >= 0.6
    assert limit_at(drawn("gaussian", prompts=8), [0.1]).reason[0] == "only 8 prompts (needs 16)"


@pytest.mark.parametrize(("name", "prompts", "budget", "low", "high"), [
    ("gaussian", 32, "average", 0.7, 1.0),
    ("spread0.3", 16, "average", 0.0, 0.0),
    ("spread0.3", 64, "average", 0.0, 0.0),
    ("spread0.3", 64, "per-prompt", 0.9, 1.0),
    ("spread0.3", 160, "average", 0.8, 1.0),
])  # fmt: skip
def test_how_often_best_of_fours_share_is_reliable(
    name: str, prompts: int, budget: str, low: float, high: float
) -> None:
    """Of the average limit it is mean(s) / sqrt(mean(s^2)), which few prompts of different spreads s do not show."""
    found = []
    for seed in range(10):
        r = drawn(name, seed, prompts=prompts)
        table = best_of_n(r, {"own": r}, ns=[4], budget=budget, replicates=100)["own"]
        found.append(bool(table.efficiency_reliable[0]))
    assert low <= np.mean(found) <= high


@pytest.mark.parametrize(("prompts", "together", "log_sd"), [(64, 4, 0.3), (32, 1, 0.3), (64, 1, 0.6)])
def test_few_prompts_that_differ_have_longer_intervals_instead_of_no_verdict(
    prompts: int, together: int, log_sd: float
) -> None:
    """Spreads of log-sd 0.3 in 16 clusters or 32 prompts covered in 90 % of those studies that were not refused."""
    truth = MIXTURES["spread0.3" if log_sd == 0.3 else "spread0.6"].limit(0.4)
    held, kept = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        spread = np.repeat(np.exp(log_sd * rng.standard_normal(prompts // together)), together)
        scores = spread[:, None] * rng.standard_normal((prompts, 64))
        table = limit_at(scores, [0.4], replicates=200, clusters=np.arange(prompts) // together)
        kept.append(bool(table.reliable[0]))
        held.append(bool(table.gain_low[0] <= truth <= table.gain_high[0]))
    assert np.mean(kept) >= 0.85
    assert np.mean(held) >= 0.9


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_gaussian_rows_up_to_half_the_ceiling_are_reliable_and_cover(budget: str) -> None:
    """Half of log 64 is 2.08 nats, with an effective sample size of 4.5."""
    kls = np.array([0.5, 1.25, 2.05])
    tables = [limit_at(drawn("gaussian", s), kls, budget=budget, replicates=200) for s in range(25)]
    assert np.mean([t.reliable for t in tables]) >= 0.95
    truth = np.sqrt(2 * kls)
    assert np.mean([(t.gain_low <= truth) & (truth <= t.gain_high) for t in tables]) >= 0.9


def test_shares_freed_of_their_noise_vary_as_those_of_the_law() -> None:
    rng = np.random.default_rng(0)
    true = rng.lognormal(sigma=0.3, size=4000)
    noise = np.full(4000, 0.04)
    seen = true * (1 + 0.2 * rng.standard_normal(4000))
    freed = freed_of_noise(seen, noise)
    assert freed.mean() == pytest.approx(seen.mean(), rel=1e-12)
    assert freed.std() == pytest.approx(true.std(), rel=0.05)
    assert seen.std() > 1.15 * true.std()
    np.testing.assert_allclose(freed_of_noise(seen * 1e150, noise), freed * 1e150)
    alike = 1 + 0.2 * rng.standard_normal(64)
    assert effective_number(freed_of_noise(alike, np.full(64, 0.08))) == pytest.approx(64)


def test_clusters_carry_a_share_as_so_many_prompts() -> None:
    """64 prompts in 16 clusters count as 16."""
    r = drawn("gaussian", prompts=64)
    assert best_of_n(r, {"own": r}, ns=[4], clusters=np.arange(64) // 4, replicates=100)["own"].efficiency_reliable[0]
    r = drawn("clusters", prompts=64)
    table = best_of_n(r, {"own": r}, ns=[4], clusters=np.arange(64) // 4, replicates=100)["own"]
    assert not table.efficiency_reliable[0]
    assert "few prompts carry this estimate: effectively 14.2 (needs 15.5)" in table.efficiency_reason[0]


def test_the_tail_statistic_is_that_of_the_law() -> None:
    for name, value in (("gaussian", 1.0), ("uniform", 0.6), ("exponential", np.e)):
        ratio, error = upper_kurtosis(drawn(name, prompts=50, samples=4000))
        assert abs(ratio - value) < max(4 * error, 0.01), name
    ratio, error = upper_kurtosis(drawn("gaussian"))
    spread = np.std([upper_kurtosis(drawn("gaussian", seed))[0] for seed in range(100)])
    assert abs(error / spread - 1) < 0.3


def test_the_tail_statistic_weighs_prompts_by_their_share() -> None:
    heavy = np.random.default_rng(0).standard_exponential((10, 200))
    both = np.concatenate([heavy, drawn("gaussian", prompts=90, samples=200)])
    share = np.where(np.arange(100) < 10, 1.0, 0.0)
    np.testing.assert_allclose(upper_kurtosis(both, share), upper_kurtosis(heavy), rtol=1e-12)
    assert upper_kurtosis(both)[0] < 1.4


def test_levels_have_no_tail() -> None:
    assert np.isnan(upper_kurtosis(drawn("rubric1to5"))[0])
    assert np.isnan(upper_kurtosis(drawn("passrates"))[0])
    assert np.isnan(upper_kurtosis(np.ones((20, 32)))[0])


def test_weighted_medians_and_numbers_of_carriers() -> None:
    rng = np.random.default_rng(1)
    for count in (7, 8):
        values = rng.standard_normal((count, 3))
        np.testing.assert_allclose(weighted_median(values, np.ones(count)), np.median(values, axis=0), rtol=1e-12)
    values = np.array([[1.0], [2.0], [3.0], [np.nan]])
    assert weighted_median(values, np.array([1.0, 1.0, 5.0, 90.0]))[0] == 3.0
    assert weighted_median(values, np.array([1.0, 1.0, 2.0, 0.0]))[0] == 2.5
    assert effective_number(np.full(40, 0.3)) == pytest.approx(40)
    assert effective_number(np.zeros(40)) == pytest.approx(40)
    alone = effective_number(np.where(np.arange(40) == 0, 1.0, 0.0))
    assert alone == pytest.approx((1 + 39 / 40) ** 2 / (1 + 39 / 40**2))
    assert alone < 4


def test_rows_say_how_many_prompts_or_clusters_carry_them() -> None:
    r = np.random.default_rng(0).normal(size=(64, 64))
    assert 60 < limit_at(r, [0.5]).effective_prompts[0] <= 64
    assert 30 < limit_at(r, [0.5], clusters=np.arange(64) // 2).effective_prompts[0] <= 32
    few = np.where(np.arange(64) < 8, 5.0, 0.1)[:, None]
    assert limit_at(few * r, [0.5]).effective_prompts[0] < 30
    assert limit_at(few * r, [0.5]).effective_prompts[0] < limit_at(r, [0.5]).effective_prompts[0] / 2


def test_pass_rates_are_betas_and_their_limits_exact() -> None:
    """Mean 0.3, variance 0.105; the limit at 0.5 nats by 200,000 draws of the pass rate and bisection."""
    rates = pass_rates().population[:, 1]
    np.testing.assert_allclose([rates.mean(), rates.var()], [0.3, 0.105], atol=3e-4)
    p = np.random.default_rng(0).beta(0.3, 0.7, 200_000)
    low, high = p, np.ones_like(p)
    for _ in range(60):
        q = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            kl = np.nan_to_num(q * np.log(q / p)) + np.nan_to_num((1 - q) * np.log((1 - q) / (1 - p)))
        low, high = np.where(kl < 0.5, q, low), np.where(kl < 0.5, high, q)
    np.testing.assert_allclose(pass_rates().limit_per_prompt(0.5), (low - p).mean(), atol=1.5e-3)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_the_tail_of_one_prompt_of_even_scores_is_counted_in_their_steps(unit: float) -> None:
    """The best 4 of 64 lie 2.5 steps above the fifth on average, the best 16 lie 8.5 above the seventeenth."""
    assert tail_ratio(unit * np.arange(64.0)[None]) == pytest.approx(2.5 / 8.5, rel=1e-9)
    with pytest.raises(EstimateError, match="Scores of 'reward' have shape"):
        tail_ratio(np.arange(64.0))


def test_prompts_weigh_alike_where_nothing_else_is_said() -> None:
    r = np.random.default_rng(6).standard_normal((32, 64))
    ess = np.random.default_rng(7).uniform(5, 60, (32, 2))
    plain, alike = judge(r, np.array([0.5, 2.0]), ess), judge(r, np.array([0.5, 2.0]), ess, share=np.full(32, 0.7))
    np.testing.assert_allclose(plain.ess, alike.ess)
    np.testing.assert_allclose(plain.pareto_k, alike.pareto_k)
    assert plain.reason.tolist() == alike.reason.tolist()


def test_a_prompt_whose_scores_are_all_alike_has_no_share() -> None:
    """Not even a rounding error: the mean of 64 times 0.1 is not 0.1."""
    r = np.random.default_rng(8).standard_normal((20, 64))
    r[3] = 0.1
    for budget in ("average", "per-prompt"):
        share = CorrectedCurve(r, budget=budget).at(np.array([0.3])).share
        assert share[3] == 0
        assert np.flatnonzero(share).tolist() == [i for i in range(20) if i != 3]


@pytest.mark.parametrize(("rate", "refused"), [(0.02, True), (0.05, True), (0.1, False)])
def test_a_success_too_rare_for_quarters_of_the_samples_is_not_corrected(rate, refused):
    """With a pass rate of 2 % and 64 samples the per-prompt correction is as large as the estimate."""
    scores = (np.random.default_rng(2).random((64, 64)) < rate).astype(float)
    table = frontier(scores, kls=[0.1, 1.0], budget="per-prompt", replicates=200)
    assert list(table.reliable) == [not refused] * 2
    assert all(("too rare" in reason) == refused for reason in table.reason)

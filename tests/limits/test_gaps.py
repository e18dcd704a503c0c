"""Proxy gap: the exact identity, its bound and small-error form; hacking onset and the stopping point."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import hacking_onset, proxy_gap, standardise, stopping_point
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.proxy_gap import GapContributions
from alignment_limits.limits.proxy_gap import gap_contributions as of_curve

BETAS = np.array([4.0, 1.0, 0.3, 0.05])


def gap_contributions(proxy: np.ndarray, gold: np.ndarray, beta: np.ndarray) -> GapContributions:
    return of_curve(proxy, gold, beta, CorrectedCurve(proxy, [gold]))


def tilted(r: np.ndarray, beta: float) -> np.ndarray:
    w = np.exp((r - r.max()) / beta)
    return w / w.sum()


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0.0)))


@pytest.fixture
def rewards() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    gold = rng.standard_normal((24, 40))
    proxy = gold + 0.4 * rng.standard_normal(gold.shape) + rng.standard_normal((24, 1))
    gold[3, 25:] = proxy[3, 25:] = np.nan
    return proxy, gold


def test_gap_is_beta_times_kl_between_the_two_tilts(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    proxy, gold = rewards
    plugin = gap_contributions(proxy, gold, BETAS).plugin
    for x in range(len(gold)):
        keep = ~np.isnan(gold[x])
        for j, beta in enumerate(BETAS):
            expected = beta * kl(tilted(proxy[x, keep], beta), tilted(gold[x, keep], beta))
            np.testing.assert_allclose(plugin[x, j], expected, rtol=1e-9, atol=1e-9)


def test_gap_is_the_loss_in_the_regularised_objective(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    proxy, gold = rewards[0][0], rewards[1][0]
    beta, base = 0.5, np.full(40, 1 / 40)
    ours, theirs = tilted(proxy, beta), tilted(gold, beta)
    loss = (theirs @ gold - beta * kl(theirs, base)) - (ours @ gold - beta * kl(ours, base))
    np.testing.assert_allclose(
        gap_contributions(proxy[None], gold[None], np.array([beta])).plugin[0, 0], loss, rtol=1e-9
    )


def test_gap_lies_between_zero_and_its_bound(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    table = proxy_gap(*rewards, betas=BETAS)
    assert np.all(table.gap_plugin >= 0)
    assert np.all(table.gap_plugin <= table.gap_bound)


def test_the_bound_is_the_mean_over_prompts_of_half_the_errors_range_squared_over_two_beta() -> None:
    """Errors are c ± h at most, h = 0.5, 1 and 3: epsilon is h whatever c is, and E h^2 is no (E h)^2."""
    rng = np.random.default_rng(7)
    half = np.repeat([0.5, 1.0, 3.0], 8)
    error = rng.uniform(-1, 1, (24, 40))
    error[:, 0], error[:, 1] = -1, 1
    gold = rng.standard_normal((24, 40))
    proxy = gold + half[:, None] * error + rng.standard_normal((24, 1))
    table = proxy_gap(proxy, gold, betas=[2.0, 0.5])
    np.testing.assert_allclose(table.gap_bound, (0.25 + 1 + 9) / 3 / (2 * table.beta), rtol=1e-12)


def test_order_of_samples_does_not_matter_even_where_the_proxy_ties() -> None:
    rng = np.random.default_rng(2)
    gold = rng.standard_normal((30, 40))
    proxy = np.round(gold + rng.standard_normal(gold.shape))
    order = rng.permuted(np.tile(np.arange(40), (30, 1)), axis=1)
    shuffled = [np.take_along_axis(a, order, axis=1) for a in (proxy, gold)]
    first, second = proxy_gap(proxy, gold, betas=BETAS), proxy_gap(*shuffled, betas=BETAS)
    np.testing.assert_allclose(second.gap, first.gap, rtol=1e-9)
    np.testing.assert_allclose(second.gold_gain, first.gold_gain, rtol=1e-9)


def test_small_errors_cost_their_variance_over_two_beta() -> None:
    rng = np.random.default_rng(1)
    gold = rng.standard_normal((200, 200))
    table = proxy_gap(gold + 0.02 * rng.standard_normal(gold.shape), gold, betas=[1.0])
    np.testing.assert_allclose(table.gap_plugin, table.gap_variance, rtol=0.02)
    np.testing.assert_allclose(table.error_variance, 0.02**2, rtol=0.02)


def test_gaussian_gap_with_independent_error_is_in_its_interval() -> None:
    """r ~ N(0,1), delta ~ N(0, s^2): both tilts Gaussian in the plane, beta KL = s^2 / (2 beta)."""
    rng = np.random.default_rng(2)
    gold = rng.standard_normal((300, 512))
    table = proxy_gap(gold + 0.5 * rng.standard_normal(gold.shape), gold, betas=[2.0, 1.0])
    truth = 0.25 / (2 * table.beta)
    assert np.all((table.gap_low <= truth) & (truth <= table.gap_high))
    assert np.all((table.gold_gain_low <= 1 / table.beta) & (1 / table.beta <= table.gold_gain_high))
    np.testing.assert_allclose(table.kl, 1.25 / (2 * table.beta**2), rtol=0.05)
    np.testing.assert_allclose(table.ideal_gain, np.sqrt(1.25) / table.beta, rtol=0.03)


def test_intervals_of_gaps_include_the_bias_that_the_correction_leaves() -> None:
    """64 samples: at 1.7 and 2.5 nats estimates are off by many standard errors, and at 20 nats nothing is known."""
    rng = np.random.default_rng(5)
    gold = rng.standard_normal((1024, 64))
    proxy = gold + 0.5 * rng.standard_normal(gold.shape)
    table = proxy_gap(proxy, gold, betas=[3.0, 1.6, 0.6, 0.5, 0.1])
    assert table.reliable.tolist() == [True, True, True, True, False]
    assert "too far for 64 samples" in table.reason[-1]
    gold_gain, gap = 1 / table.beta, 0.25 / (2 * table.beta)
    error = (table.gold_gain_high - table.gold_gain_low)[0] / 2 / gold_gain[0]
    assert np.all(table.gold_gain[2:4] / gold_gain[2:4] - 1 < -1.5 * error)
    for name, truth in (("gold_gain", gold_gain), ("gap", gap)):
        low, high = getattr(table, f"{name}_low"), getattr(table, f"{name}_high")
        assert np.all(((low <= truth) & (truth <= high))[:4])
        assert np.all((high - low)[:2] < 0.15 * truth[:2])


@pytest.mark.parametrize("log_sd", [0.0, 0.6])
def test_verdicts_on_gaps_select_no_studies(log_sd: float) -> None:
    """64 x 64, 0.1 to 2 nats: nearly all rows are reliable and cover, also where prompts differ in spread."""
    beta = 1 / np.sqrt(2 * np.array([0.1, 0.42, 2.08]) / np.exp(2 * log_sd**2))
    truth = np.exp(2 * log_sd**2) * 0.25 / (2 * beta)
    kept, held = [], []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        gold, error = np.exp(log_sd * rng.standard_normal((64, 1))) * rng.standard_normal((2, 64, 64))
        table = proxy_gap(gold + 0.5 * error, gold, betas=beta, replicates=200)
        kept.append(table.reliable)
        held.append((table.gap_low <= truth) & (truth <= table.gap_high))
    assert np.mean(kept) >= 0.9
    assert np.mean(held, axis=0).min() >= 0.85


def test_a_proxy_equal_to_gold_loses_nothing_after_correction_either() -> None:
    gold = np.random.default_rng(6).standard_normal((40, 64))
    same = gap_contributions(gold, gold, BETAS)
    np.testing.assert_allclose(same.gap, 0, atol=1e-12)
    np.testing.assert_allclose(same.gold_gain, same.ideal_gain_at_beta, rtol=1e-9, atol=1e-12)


def test_offsets_of_a_prompt_cost_nothing(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    proxy, gold = rewards
    moved = proxy_gap(proxy + np.arange(24.0)[:, None], gold, betas=BETAS)
    table = proxy_gap(proxy, gold, betas=BETAS)
    np.testing.assert_allclose(moved.gap, table.gap, rtol=1e-9)
    np.testing.assert_allclose(proxy_gap(gold, gold, betas=BETAS).gap, 0, atol=1e-12)


def hacked(prompts: int = 200, samples: int = 256, bend: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Proxy N(0,1), gold = proxy - bend/2 (proxy^2 - 1): lambda - bend lambda^2/2 under the tilt."""
    proxy = np.random.default_rng(3).standard_normal((prompts, samples))
    return proxy, proxy - bend / 2 * (proxy**2 - 1)


def test_onset_of_a_bent_gold_reward_is_found_where_the_algebra_puts_it() -> None:
    """Gold peaks at lambda = 1/bend, that is at KL = 1/(2 bend^2); with bend 1, half a nat."""
    onset = hacking_onset(*hacked(bend=1.0))
    assert onset.found
    assert onset.low <= 0.5 <= onset.high
    np.testing.assert_allclose(onset.at, 0.5, rtol=0.1)
    np.testing.assert_allclose(onset.gain, 0.5, rtol=0.05)
    assert onset.drop_low > 0


def test_no_onset_is_claimed_where_gold_keeps_rising_or_only_noise_falls() -> None:
    rng = np.random.default_rng(4)
    proxy = rng.standard_normal((100, 128))
    rising = hacking_onset(proxy, 0.5 * proxy + rng.standard_normal(proxy.shape))
    assert not rising.found
    assert np.isnan(rising.at)
    assert rising.reason
    noise = hacking_onset(proxy, rng.standard_normal(proxy.shape))
    assert not noise.found


def test_no_onset_without_a_reliable_path() -> None:
    onset = hacking_onset(*hacked(prompts=4, samples=32))
    assert not onset.found
    assert "4 prompts" in onset.reason


def test_stopping_point_of_best_of_n_is_the_maximum_over_n() -> None:
    proxy, gold = hacked(bend=1.0)
    stop = stopping_point(proxy, gold)
    # E[z - (z^2 - 1)/2] of the maximum z of n normals, by quadrature
    z = np.linspace(-8, 10, 20_001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    cdf = np.cumsum(density) * (z[1] - z[0])
    gains = [np.sum((z - (z**2 - 1) / 2) * n * cdf ** (n - 1) * density) * (z[1] - z[0]) for n in range(1, 13)]
    assert stop.found
    np.testing.assert_allclose(stop.at, np.argmax(gains) + 1, atol=0.5)
    assert stop.low <= stop.at <= stop.high


def test_unreadable_paths_are_refused() -> None:
    short = stopping_point(*np.random.default_rng(0).random((2, 20, 2)))
    assert (short.finding, short.found) == ("not judged", False)
    assert "samples" in short.reason
    with pytest.raises(EstimateError, match="constant"):
        standardise(np.ones((4, 2)))

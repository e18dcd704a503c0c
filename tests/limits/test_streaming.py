"""Shards merge exactly, and the merged frontier is the one estimated in memory."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import frontier, merge, read_frontier, sum_shard

BETAS = np.geomspace(0.05, 30, 60)
KLS = np.array([0.1, 0.5, 1.0])


@pytest.fixture(scope="module")
def rewards() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    r = rng.lognormal(sigma=0.3, size=(1100, 1)) * rng.standard_normal((1100, 48))
    r[:50, 40:] = np.nan
    return r, np.where(np.isnan(r), np.nan, np.tanh(r) + 0.2 * rng.standard_normal(r.shape))


def test_shards_merge_to_the_same_sums_however_prompts_are_dealt(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, v = rewards
    keys = np.arange(len(r))
    whole = sum_shard(r, {"gold": v}, betas=BETAS, keys=keys)
    order = np.random.default_rng(1).permutation(len(r))
    shards = [sum_shard(r[i], {"gold": v[i]}, betas=BETAS, keys=keys[i]) for i in np.array_split(order, 5)]
    together = merge(shards)
    assert together.prompts == len(r)
    for name in ("gains", "slopes", "kl", "variance", "products", "ess"):
        np.testing.assert_allclose(getattr(together, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


def test_merged_frontier_is_the_one_in_memory(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, v = rewards
    merged = read_frontier(sum_shard(r, {"own": r, "gold": v}, betas=BETAS), KLS)
    table = frontier(r, {"own": r, "gold": v}, kls=KLS)
    for name, estimate in merged.items():
        np.testing.assert_allclose(estimate.gain_plugin, table[name].gain_plugin, rtol=1e-4)
        np.testing.assert_allclose(estimate.gain, table[name].gain, rtol=1e-3)
        wider = (estimate.gain_high - estimate.gain_low) / (table[name].gain_high - table[name].gain_low)
        assert np.all((wider > 0.9) & (wider < 1.5))


def test_merged_intervals_of_like_prompts_are_those_in_memory() -> None:
    r = np.random.default_rng(2).standard_normal((1100, 128))
    merged = read_frontier(sum_shard(r, {"own": r}, betas=BETAS), KLS)["own"]
    table = frontier(r, {"own": r}, kls=KLS)["own"]
    np.testing.assert_allclose(merged.gain, table.gain, rtol=1e-5)
    wider = (merged.gain_high - merged.gain_low) / (table.gain_high - table.gain_low)
    assert np.all((wider > 0.95) & (wider < 1.12))


def test_budgets_beyond_the_grid_are_nan_not_a_guess(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, _ = rewards
    merged = read_frontier(sum_shard(r[:100], {"own": r[:100]}, betas=[5.0, 1.0]), [0.1, 3.0])["own"]
    assert np.isfinite(merged.gain[0])
    assert np.isnan(merged.gain[1])


def test_shards_of_other_studies_do_not_merge(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, _ = rewards
    first = sum_shard(r[:20], {"own": r[:20]}, betas=[1.0, 2.0])
    with pytest.raises(EstimateError, match="different rewards or beta grids"):
        merge([first, sum_shard(r[:20], {"own": r[:20]}, betas=[1.0, 3.0])])
    with pytest.raises(EstimateError, match="no shards"):
        merge([])
    with pytest.raises(EstimateError, match="positive"):
        sum_shard(r[:20], {"own": r[:20]}, betas=[0.0])

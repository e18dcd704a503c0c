"""Unequal numbers of samples, masked and extreme scores, one array in place of a mapping."""

from collections.abc import Callable

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import (
    CorrectedCurve,
    best_of_n,
    frontier,
    limit_at,
    proxy_gap,
    standardise,
    study_ensembles,
    tilt,
)
from alignment_limits.limits.ensembles import member_errors
from alignment_limits.limits.frontier import FrontierTable
from alignment_limits.limits.streaming import octaves, read_frontier, sum_shard

KLS = np.array([0.1, 0.5])


def ragged(seed: int, few: int = 2) -> np.ndarray:
    """64 prompts x 64 samples of N(0, 1); every tenth prompt has `few`."""
    r = np.random.default_rng(seed).standard_normal((64, 64))
    r[::10, few:] = np.nan
    return r


def in_memory(budget: str) -> Callable[[np.ndarray], FrontierTable]:
    return lambda r: limit_at(r, KLS, budget=budget, replicates=500)


def streamed(r: np.ndarray) -> FrontierTable:
    return read_frontier(sum_shard(r, {}, betas=octaves()), KLS)["optimized"]


@pytest.mark.parametrize("way", [in_memory("average"), in_memory("per-prompt"), streamed])
def test_prompts_of_two_samples_do_not_bias_the_limit(way: Callable[[np.ndarray], FrontierTable]) -> None:
    tables = [way(ragged(seed)) for seed in range(30)]
    truth = np.sqrt(2 * KLS)
    error = np.array([table.gain / truth - 1 for table in tables])
    assert (np.abs(error.mean(axis=0)) < 3 * error.std(axis=0) / np.sqrt(30) + 0.002).all()
    held = np.array([(t.gain_low <= truth) & (truth <= t.gain_high) for t in tables])
    assert held.mean() > 0.85
    assert np.mean([table.reliable for table in tables]) > 0.9


def test_too_small_a_prompt_takes_no_part() -> None:
    """Whatever its scores are; and the interval is that of the others, to the first order."""
    r = ragged(0)
    moved = r.copy()
    moved[::10] *= 50
    alone = r[np.setdiff1d(np.arange(64), np.arange(0, 64, 10))]
    keys = np.arange(64)
    for budget in ("average", "per-prompt"):
        draws = {"kls": KLS, "betas": [2.0] if budget == "average" else [], "budget": budget}
        first, second = (frontier(a, a, keys=keys, **draws) for a in (r, moved))
        others = frontier(alone, alone, keys=keys[np.arange(64) % 10 > 0], **draws)
        for name in ("gain", "gain_low", "gain_high", "kl", "kl_reverse", "beta"):
            np.testing.assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-9)
        np.testing.assert_allclose(first.gain, others.gain, rtol=1e-9)
        np.testing.assert_allclose(first.gain_high - first.gain_low, others.gain_high - others.gain_low, rtol=0.15)


def test_the_gap_and_ensembles_leave_too_small_prompts_out() -> None:
    rng = np.random.default_rng(3)
    gold = ragged(1)
    proxy, other = (gold + 0.5 * rng.standard_normal(gold.shape) for _ in range(2))
    many = np.flatnonzero(np.arange(64) % 10 > 0)
    for index, whole in enumerate((proxy_gap, study_ensembles)):
        given = [[proxy, gold], [[proxy, other], gold]][index]
        less = [[proxy[many], gold[many]], [[proxy[many], other[many]], gold[many]]][index]
        settings = {"betas": [2.0]} if index == 0 else {"betas": [2.0], "at_kl": 0.2}
        first = whole(*given, keys=np.arange(64), **settings)  # type: ignore[operator]
        second = whole(*less, keys=many, **settings)  # type: ignore[operator]
        for name in ("gap", "kl", *(("gold_gain_at_kl",) if index else ("gold_gain", "ideal_gain"))):
            np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9, err_msg=name)


def test_the_verdict_counts_prompts_with_too_few_samples() -> None:
    r = np.random.default_rng(0).standard_normal((64, 64))
    r[:17, 10:] = np.nan
    assert limit_at(r, [0.1]).reason[0] == "only 47 of 64 prompts have 16 samples or more"
    sums = sum_shard(r, {}, betas=octaves())
    assert read_frontier(sums, [0.1])["optimized"].reason[0] == "only 47 of 64 prompts have 16 samples or more"
    r = np.random.default_rng(0).standard_normal((40, 64))
    r[:10, 3:] = np.nan
    r[10:25] = np.nan
    r[10:25, :15] = 1.0
    assert "only 15 prompts" in limit_at(r, [0.1]).reason[0]


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_masked_samples_are_missing_ones(budget: str) -> None:
    rng = np.random.default_rng(4)
    r, v = rng.standard_normal((2, 40, 48))
    hidden = np.zeros(r.shape, dtype=bool)
    hidden[::3, 30:] = True
    wrong = np.where(hidden, 48.0, r)
    masked, other = np.ma.masked_array(wrong, hidden), np.ma.masked_array(v, hidden)
    first = frontier(masked, {"v": other}, kls=KLS, budget=budget)["v"]
    second = frontier(np.where(hidden, np.nan, r), {"v": np.where(hidden, np.nan, v)}, kls=KLS, budget=budget)["v"]
    for name, column in second.columns().items():
        np.testing.assert_array_equal(first.columns()[name], column)
    table = member_errors([masked, other], other)
    assert (
        table.variance == member_errors([np.where(hidden, np.nan, r), v * np.where(hidden, np.nan, 1)], other).variance
    )


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e-200])
def test_units_of_any_size_give_the_same_numbers(scale: float) -> None:
    rng = np.random.default_rng(5)
    gold = rng.standard_normal((40, 32))
    proxy, other = (gold + 0.5 * rng.standard_normal(gold.shape) for _ in range(2))
    for budget in ("average", "per-prompt"):
        betas = np.array([2.0]) if budget == "average" else np.empty(0)
        first = frontier(proxy, {"gold": gold}, kls=KLS, betas=betas, budget=budget)["gold"]
        second = frontier(proxy * scale, {"gold": gold * scale}, kls=KLS, betas=betas * scale, budget=budget)["gold"]
        for name in ("gain", "gain_low", "gain_high", "gain_plugin", "beta"):
            np.testing.assert_allclose(getattr(second, name) / scale, getattr(first, name), rtol=1e-7)
        for name in ("kl", "kl_low", "kl_high", "kl_reverse", "ess"):
            np.testing.assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-7)
        assert second.reason.tolist() == first.reason.tolist()
    gap, large = (proxy_gap(proxy * s, gold * s, betas=[2.0 * s]) for s in (1.0, scale))
    for name in ("gap", "gap_low", "gap_high", "gap_bound", "gap_variance", "gold_gain", "ideal_gain"):
        np.testing.assert_allclose(getattr(large, name) / scale, getattr(gap, name), rtol=1e-7)
    ensembles, huge = (
        study_ensembles([proxy * s, other * s], gold * s, betas=[2.0 * s], at_kl=0.2, coefficient=0.5 / s,
                        temperature=s)
        for s in (1.0, scale)
    )  # fmt: skip
    np.testing.assert_allclose(huge.gap / scale, ensembles.gap, rtol=1e-7)
    np.testing.assert_allclose(standardise(proxy * scale).scores, standardise(proxy).scores, rtol=1e-12)


def test_large_offsets_of_prompts_change_nothing_but_the_last_digits_they_cost() -> None:
    r = np.random.default_rng(6).standard_normal((40, 32))
    offset = np.random.default_rng(7).uniform(-1e9, 1e9, (40, 1))
    for budget in ("average", "per-prompt"):
        first, second = (limit_at(a, KLS, budget=budget) for a in (r, r + offset))
        np.testing.assert_allclose(second.gain, first.gain, rtol=1e-5)
        assert second.reason.tolist() == first.reason.tolist()


def test_infinite_scores_are_refused_with_their_row() -> None:
    r = np.random.default_rng(8).standard_normal((20, 20))
    r[7, 3] = -np.inf
    with pytest.raises(EstimateError, match="infinite at row 7, sample 3"):
        limit_at(r, [0.1])
    with pytest.raises(EstimateError, match="Score of 'member 1' is infinite at row 7"):
        member_errors([np.zeros((20, 20)), r], np.zeros((20, 20)))


def test_streamed_scores_of_another_order_of_magnitude_are_refused_not_lost() -> None:
    r = np.random.default_rng(9).standard_normal((30, 20))
    for scale in (1e150, 1e-150):
        with pytest.raises(EstimateError, match="Scores of 'optimized' differ by"):
            sum_shard(r * scale, {}, betas=octaves(scale))


def test_an_array_serves_where_a_mapping_of_one_would() -> None:
    r = np.random.default_rng(10).standard_normal((30, 20))
    named = frontier(r, {"evaluated": r}, kls=[1.0])["evaluated"]
    assert frontier(r, r, kls=[1.0]).gain.tolist() == named.gain.tolist()
    assert frontier(r.tolist(), r.tolist(), kls=[1.0]).gain.tolist() == named.gain.tolist()
    assert best_of_n(r, r, ns=[2]).gain == best_of_n(r, {"evaluated": r}, ns=[2])["evaluated"].gain
    assert tilt(r, r, [1.0]).gain.shape == (30, 1)
    assert sum_shard(r, r, betas=octaves()).names == ("optimized", "evaluated")


def test_a_curve_says_which_prompts_take_part() -> None:
    curve = CorrectedCurve(ragged(0))
    assert np.flatnonzero(~curve.enough).tolist() == list(range(0, 64, 10))
    points = curve.at(KLS)
    assert points.values.shape == (64, 2, 1)
    assert np.isnan(points.ess[::10]).all()
    assert (points.share[::10] == 0).all()

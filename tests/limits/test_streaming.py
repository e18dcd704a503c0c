"""Shards merge to the same bits however prompts are dealt, and the frontier read from them is the one in memory."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alignment_limits.ensembles.scores import split_labels
from alignment_limits.errors import EstimateError
from alignment_limits.limits import WORLDS, frontier
from alignment_limits.limits.bootstrap import student_quantile
from alignment_limits.limits.correction import missed
from alignment_limits.limits.streaming import FrontierSums, merge, octaves, read_frontier, sum_shard, terms
from alignment_limits.limits.streaming import sums as summing
from alignment_limits.limits.streaming.sums import GROUPS, SPECIMENS, Specimens

BETAS = np.array([4.0, 2.0, 1.5, 0.6])  # well within or beyond what is reliable
GRID = np.concatenate([octaves(), BETAS])
KLS = np.array([0.0, 0.05, 0.2, 0.5, 1.0, 1.5])
SAME = ("beta", "kl", "kl_reverse", "gain", "gain_plugin", "kl_plugin")


@pytest.fixture(scope="module")
def rewards() -> tuple[np.ndarray, np.ndarray]:
    """Prompts of different spreads and numbers of samples, some scores tied."""
    rng = np.random.default_rng(0)
    r = rng.lognormal(sigma=0.3, size=(1100, 1)) * rng.standard_normal((1100, 48))
    r[:50, 40:] = np.nan
    r[50:90] = np.round(r[50:90], 1)
    return r, np.where(np.isnan(r), np.nan, np.tanh(r) + 0.2 * rng.standard_normal(r.shape))


@pytest.fixture(params=["compiled", "plain"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without Numba."""
    if request.param == "plain":
        monkeypatch.setattr("alignment_limits.limits.streaming.sums.compiled", lambda: None)
    elif terms.compiled() is None:
        pytest.skip("no Numba")
    return str(request.param)


def same_bits(one: FrontierSums, other: FrontierSums) -> None:
    for name in ("sums", "prompts", "keys"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.samples == other.samples
    assert np.array_equal(one.specimens.marks, other.specimens.marks)
    assert np.array_equal(one.specimens.scores, other.specimens.scores, equal_nan=True)


@st.composite
def dealt(draw: st.DrawFn) -> tuple[int, list[np.ndarray], list[int]]:
    """A seed, 60 prompts dealt to up to 6 shards in any order (one may stay empty), and an order of merging them."""
    seed = draw(st.integers(0, 2**32 - 1))
    order = np.random.default_rng(seed).permutation(60)
    cuts = sorted(draw(st.lists(st.integers(0, 60), max_size=5)))
    shards = np.split(order, cuts)
    return seed, shards, draw(st.permutations(range(len(shards))))


@given(dealt())
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bits_do_not_depend_on_how_prompts_are_dealt_or_merged(
    kernel: str, deal: tuple[int, list[np.ndarray], list[int]]
) -> None:
    """Neither sums nor the table: prompts in any order and shards, merged one by one, in pairs or at once."""
    seed, shards, turn = deal
    rng = np.random.default_rng(seed)
    r = 10.0 ** rng.integers(-6, 7, (60, 1)) * rng.standard_normal((60, 24))
    r[np.arange(24) >= rng.integers(1, 25, (60, 1))] = np.nan
    v = np.where(np.isnan(r), np.nan, rng.standard_normal(r.shape))
    keys = rng.integers(-(2**63), 2**63, 60)
    betas = [4.0, 1.0, 0.3]

    def part(i: np.ndarray) -> FrontierSums:
        if not len(i):
            return FrontierSums.empty(["optimized", "gold"], betas)
        return sum_shard(r[i], {"gold": v[i]}, betas=betas, keys=keys[i])

    whole = sum_shard(r, {"gold": v}, betas=betas, keys=keys)
    parts = [part(shards[i]) for i in turn]
    middle = len(parts) // 2
    grouped = merge([*parts[middle:], merge(parts[:middle])]) if middle else merge(parts)
    growing = FrontierSums.empty(["optimized", "gold"], betas)
    for one in parts:
        growing.include(one)
    tables = read_frontier(whole, [0.1, 0.4], betas=betas)
    for together in (merge(parts), grouped, growing):
        same_bits(together, whole)
        for name, table in read_frontier(together, [0.1, 0.4], betas=betas).items():
            for column, values in table.columns().items():
                nan = values.dtype.kind == "f"
                assert np.array_equal(values, getattr(tables[name], column), equal_nan=nan), column


def test_bits_do_not_depend_on_the_batches_prompts_came_in(kernel: str, rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, v = (a[:200] for a in rewards)
    whole = sum_shard(r, {"gold": v}, betas=BETAS)
    present = ~np.isnan(r)
    sums = FrontierSums.empty(["optimized", "gold"], BETAS)
    for i in np.split(np.arange(200), [1, 2, 90, 130]):
        sums.add(i, present[i].sum(axis=1), [a[i][present[i]] for a in (r, v)])
    same_bits(sums, whole)


def test_bits_do_not_depend_on_the_order_of_samples(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    if terms.compiled() is None:
        pytest.skip("NumPy sums in the order given")
    r, v = rewards
    order = np.argsort(np.random.default_rng(2).random(r.shape), axis=1)
    shuffled = [np.take_along_axis(a, order, axis=1) for a in (r, v)]
    one, other = (sum_shard(a, {"gold": b}, betas=GRID) for a, b in ((r, v), shuffled))
    assert np.array_equal(one.totals, other.totals)


def test_compiled_and_plain_terms_agree(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    fused = terms.compiled()
    if fused is None:
        pytest.skip("no Numba")
    r, v = rewards
    keys = np.random.default_rng(3).integers(-(2**62), 2**62, len(r))
    ragged = [np.where(np.arange(48) < 1 + np.arange(1100)[:, None] % 48, a, np.nan) for a in (np.nan_to_num(r), v)]
    ragged[1] = np.where(np.isnan(ragged[0]), np.nan, np.nan_to_num(ragged[1]))
    for columns in ([r, v], [r], ragged):
        counts = np.sum(~np.isnan(columns[0]), axis=1)
        inverse = np.unique(1 / GRID)
        plain = terms.plain_terms(columns, keys, 5, inverse)
        compiled = terms.prompt_terms(columns, counts, keys, 5, inverse, fused)
        np.testing.assert_allclose(compiled, plain, rtol=1e-11, atol=1e-12)


def test_draws_are_those_of_the_quarters_in_memory() -> None:
    fused = terms.compiled()
    if fused is None:
        pytest.skip("no Numba")
    counts, keys = np.array([1, 2, 3, 5, 40, 48]), np.arange(6) - 3
    draws = np.empty((6, 48), dtype=np.uint64)
    fused._draw(counts, keys.astype(np.uint64), np.uint64(9), draws)
    for row, m, labels in zip(draws, counts, split_labels(counts, 48, keys, 9), strict=True):
        assert np.array_equal(labels[:m][np.argsort(row[:m])], 4 * np.arange(m) // m)


def test_without_numba_the_sums_agree(rewards: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    r, v = rewards
    compiled = sum_shard(r, {"gold": v}, betas=GRID)
    monkeypatch.setattr("alignment_limits.limits.streaming.sums.compiled", lambda: None)
    plain = sum_shard(r, {"gold": v}, betas=GRID)
    np.testing.assert_allclose(plain.totals, compiled.totals, rtol=1e-11, atol=1e-11)


def test_streamed_frontier_is_the_one_in_memory(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    """At betas to rounding; at KLs within what either interpolation leaves (gains 1e-6, their slope beta 1e-3)."""
    r, v = rewards
    keys = np.arange(len(r)) + 5
    streamed = read_frontier(sum_shard(r, {"gold": v}, betas=GRID, keys=keys), KLS, betas=BETAS)
    table = frontier(r, {"optimized": r, "gold": v}, betas=BETAS, kls=KLS, keys=keys)
    at_kl = table["gold"].at == "kl"
    for name, ours in streamed.items():
        for column in SAME:
            one, other = getattr(ours, column), getattr(table[name], column)
            np.testing.assert_allclose(one[~at_kl], other[~at_kl], rtol=1e-9, atol=1e-12, err_msg=column)
            loose = {"beta": 2e-3, "kl_reverse": 5e-4}.get(column, 1e-6)
            np.testing.assert_allclose(one[at_kl], other[at_kl], rtol=loose, atol=1e-9, err_msg=column)
        np.testing.assert_allclose(ours.ess, table[name].ess, rtol=0.1)
        for column in ("at", "budget"):
            assert np.array_equal(getattr(ours, column), getattr(table[name], column))
        assert np.array_equal(ours.reliable, table[name].reliable)
        for low, high in (("gain_low", "gain_high"), ("kl_low", "kl_high")):
            wide = getattr(ours, high) - getattr(ours, low)
            other = getattr(table[name], high) - getattr(table[name], low)
            # 256 groups know a width to 5%, of prompts of such different spreads; 0 where a bound is the estimate.
            # What is left of the bias of another reward has another bound in memory (`bend_bound`, and each prompt's).
            rows, apart = (slice(None), 0.3) if name != "gold" or low == "kl_low" else (~at_kl, 0.6)
            np.testing.assert_allclose(wide[rows], other[rows], rtol=apart, atol=1e-12)


def test_beta_at_a_budget_is_the_slope_of_the_streamed_curve(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    """dG*/dKL = beta: finite differences of the corrected curve, which the correction's ratio bends a little."""
    r, _ = rewards
    sums = sum_shard(r, {}, betas=GRID)
    step = 1e-3
    near = read_frontier(sums, [0.5 - step, 0.5, 0.5 + step])["optimized"]
    assert near.beta[1] == pytest.approx((near.gain[2] - near.gain[0]) / (2 * step), rel=5e-3)


def test_few_prompts_have_the_verdict_of_memory() -> None:
    """Up to 512 prompts every one is a specimen, so the verdict's reasons are the same."""
    for world in ("gaussian", "exponential"):
        r = WORLDS[world].draw(np.random.default_rng(4), 300, 64)
        kls = [0.1, 0.5, 1.0, 2.0, 3.5, 6.0]
        ours = read_frontier(sum_shard(r, {}, betas=octaves()), kls)["optimized"]
        table = frontier(r, {"own": r}, kls=kls)["own"]
        assert list(ours.reliable) == list(table.reliable)
        assert [why.split()[:3] for why in ours.reason] == [why.split()[:3] for why in table.reason]


def test_intervals_cover_the_truth() -> None:
    """95% of 60 Gaussian worlds: at least 51 but for 1 in 400 (seeds are fixed)."""
    rng, covered = np.random.default_rng(6), np.zeros(2, dtype=int)
    for _ in range(60):
        r = rng.lognormal(sigma=0.5, size=(600, 1)) * rng.standard_normal((600, 32))
        table = read_frontier(sum_shard(r, {}, betas=octaves()), [0.2, 0.5])["optimized"]
        truth = np.exp(0.5**2) * np.sqrt(2 * table.kl)  # root mean square spread
        covered += (table.gain_low <= truth) & (truth <= table.gain_high)
    assert np.all(covered >= 51)


def test_what_the_correction_leaves_is_in_the_interval_of_very_many_prompts() -> None:
    """20,000 prompts of 64 samples: sampling error at KL 1.25 is a third of what the correction leaves out."""
    sums = FrontierSums.empty(["r"], octaves())
    for start in range(0, 20_000, 2000):
        r = np.random.default_rng(start).standard_normal(2000 * 64)
        sums.add(np.arange(start, start + 2000), np.full(2000, 64), [r])
    table = read_frontier(sums, [0.2, 0.5, 1.0, 1.25])["r"]
    truth = np.sqrt(2 * table.kl)
    assert np.all(np.abs(table.gain - truth) <= (table.gain_high - table.gain_low) / 2)
    assert np.all(table.gain_plugin < table.gain_low)


def test_the_bound_on_what_the_correction_leaves_holds_where_nothing_else_errs() -> None:
    """Gaussian rewards, 10^6 prompts x 1,000 samples (benchmarks/limits_streaming.py): errors far beyond sampling's."""
    truth = np.sqrt(2 * np.array([1.5, 2.0, 2.5, 3.0]))
    levels = np.array(
        [
            [1.727038, 1.989664, 2.216817, 2.416662],
            [1.722389, 1.980984, 2.202269, 2.394176],
            [1.713751, 1.965655, 2.17768, 2.357457],
        ]
    )
    factor = np.array([1.1656, 1.3054, 1.4487, 1.58])
    error = np.abs(levels[0] + factor * (levels[0] - levels[1]) - truth)
    bound = missed(levels, factor)
    assert np.all(error > 4e-4)
    assert np.all((error < bound) & (bound < 4 * error))


def test_specimens_are_few_where_prompts_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order prompts come, and however ragged they are."""
    monkeypatch.setattr(summing, "SPECIMEN_CELLS", 3000)
    rng = np.random.default_rng(0)
    lengths = np.where(np.arange(600) % 50, rng.integers(20, 60, 600), 150)
    marks = np.random.default_rng(1).permutation(600).astype(np.uint64)
    scores = np.where(np.arange(150) < lengths[:, None], marks[:, None].astype(float), np.nan)
    by_mark = lengths[np.argsort(marks)]
    padded = np.maximum.accumulate(by_mark) * np.arange(1, 601)
    expected = int(np.count_nonzero(padded <= 3000))
    assert 16 < expected < 100
    for _ in range(5):
        kept = Specimens()
        for part in np.array_split(rng.permutation(600), 7):
            kept.add(marks[part], scores[part])
        assert kept.marks.tolist() == list(range(expected))
        assert kept.scores.shape == (expected, by_mark[:expected].max())
    monkeypatch.setattr(summing, "SPECIMEN_CELLS", 1)
    kept.add(np.array([], dtype=np.uint64), [])
    assert kept.marks.tolist() == list(range(16))


def test_the_verdict_counts_all_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates need 16 prompts, and have these, though 28 are kept whole."""
    monkeypatch.setattr(summing, "SPECIMENS", 28)
    r = np.random.default_rng(3).standard_normal((400, 64))
    sums = sum_shard(r, {}, betas=octaves())
    assert len(sums.specimens.marks) == 28
    assert read_frontier(sums, [0.2])["optimized"].reliable[0]
    few = sum_shard(r[:12], {}, betas=octaves())
    assert "only 12 prompts (needs 16)" in read_frontier(few, [0.2])["optimized"].reason[0]


def test_groups_and_specimens_are_drawn_by_key(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, _ = rewards
    sums = sum_shard(r, {}, betas=[1.0])
    assert sums.prompts.sum() == len(r)
    assert sums.prompts.shape == (GROUPS,)
    assert sums.prompts.max() < 20  # 1100 prompts over 256 groups
    assert len(sums.specimens.marks) == SPECIMENS
    assert sums.samples == np.sum(~np.isnan(r))


def test_constant_rewards_are_told() -> None:
    table = read_frontier(sum_shard(np.ones((40, 32)), {}, betas=octaves()), [0.0, 0.5])["optimized"]
    assert not table.reliable.any()
    assert set(table.reason) == {"constant reward: nothing to gain"}


def test_budgets_off_the_grid_are_told_not_guessed(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, _ = rewards
    table = read_frontier(sum_shard(r, {}, betas=octaves(low=-1, high=0)), [0.05, 0.3, 3.0])["optimized"]
    assert np.isfinite(table.gain[1])
    assert np.isnan(table.gain[2])
    assert "largest beta" in table.reason[0]
    assert "smallest beta" in table.reason[2]
    assert not table.reliable[[0, 2]].any()
    with pytest.raises(EstimateError, match=r"not taken at beta 1\.7"):
        read_frontier(sum_shard(r, {}, betas=[1.0]), betas=[1.7])


def test_shards_that_do_not_belong_together_do_not_merge(rewards: tuple[np.ndarray, np.ndarray]) -> None:
    r, v = rewards
    first = sum_shard(r[:20], {"own": v[:20]}, betas=[1.0, 2.0])
    for other in (
        sum_shard(r[:20], {"own": v[:20]}, betas=[1.0, 3.0], keys=np.arange(20, 40)),
        sum_shard(r[:20], {"gold": v[:20]}, betas=[1.0, 2.0], keys=np.arange(20, 40)),
        sum_shard(r[:20], {"own": v[:20]}, betas=[1.0, 2.0], keys=np.arange(20, 40), seed=1),
    ):
        with pytest.raises(EstimateError, match="shard 1 has another (beta grid|rewards|seed) than shard 0"):
            merge([first, other])
    with pytest.raises(EstimateError, match=r"20 prompt\(s\) would count twice, the first in a and b"):
        merge([first, first], ["a", "b"])
    with pytest.raises(EstimateError, match="would count twice"):
        sum_shard(r[:2], {}, betas=[1.0], keys=np.array([4, 4]))
    with pytest.raises(EstimateError, match="no shards"):
        merge([])
    with pytest.raises(EstimateError, match="positive"):
        sum_shard(r[:20], {}, betas=[0.0])
    with pytest.raises(EstimateError, match="same name"):
        sum_shard(r[:20], {"optimized": v[:20]}, betas=[1.0])
    with pytest.raises(EstimateError, match="Nothing to estimate"):
        read_frontier(first)
    with pytest.raises(EstimateError, match="no prompts"):
        read_frontier(FrontierSums.empty(["a"], [1.0]), [0.1])
    with pytest.raises(EstimateError, match="scale"):
        octaves(0.0)


def test_student_quantiles() -> None:
    """Against tables of Student's t."""
    for freedom, value in ((8, 2.3060), (30, 2.0423), (255, 1.9693)):
        assert student_quantile(0.95, freedom) == pytest.approx(value, abs=1e-3)
    assert np.isnan(student_quantile(0.95, 0))

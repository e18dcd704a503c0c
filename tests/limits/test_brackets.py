"""Lower and upper bounds of the limit: exact cases, worlds of known limit, clusters, pools, streams, bad bounds."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import beta as beta_law

from alignment_limits.errors import EstimateError
from alignment_limits.limits import best_of_n, frontier, limit_at, soft_best_of_n
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.brackets import Dual, bernstein, largest_mean, upper_mean
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.streaming.reader import read_frontier
from alignment_limits.limits.streaming.sums import merge, octaves, sum_shard
from alignment_limits.limits.worlds import WORLDS, Uniform, World, pass_rates, rubric

KLS = np.array([0.1, 0.5, 1.0, 2.0, 4.0])
BOUNDED: dict[str, tuple[World, tuple[float, float]]] = {
    "uniform": (Uniform(), (0.0, 1.0)),
    "bernoulli": (WORLDS["bernoulli"], (0.0, 1.0)),
    "passrates": (pass_rates(), (0.0, 1.0)),
    "rubric1to10": (rubric(10), (1.0, 10.0)),
}


def drawn(world: World, seed: int, prompts: int = 64, samples: int = 64) -> np.ndarray:
    return world.draw(np.random.default_rng(seed), prompts, samples)


@pytest.mark.parametrize(("units", "hits", "error"), [(1, 0, 0.01), (20, 0, 0.025), (20, 3, 0.002), (500, 2, 0.01)])
def test_the_bound_of_a_rate_is_that_of_clopper_and_pearson(units: int, hits: int, error: float) -> None:
    values = (np.arange(units) < hits)[:, None] * 7.0
    exact = 7 * beta_law.ppf(1 - error, hits + 1, units - hits)
    assert upper_mean(values, np.ones(units), np.array([7.0]), error)[0] == pytest.approx(exact, rel=0.006)


def test_the_bound_of_a_mean_is_the_quantile_of_dirichlet_weights() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(40, 1))
    weights = rng.dirichlet(np.ones(41), 200_000)
    exact = np.quantile(weights @ np.append(values[:, 0], 20.0), 0.98)
    assert upper_mean(values, np.ones(40), np.array([20.0]), 0.02)[0] == pytest.approx(exact, rel=0.01)
    assert upper_mean(np.full((40, 1), 20.0), np.ones(40), np.array([20.0]), 0.02)[0] == pytest.approx(20.0)


def test_the_largest_mean_is_carried_by_two_points() -> None:
    p = np.linspace(0, 1, 100_001)
    for a in (0.1, 1.0, 4.0, 13.0):
        brute = (p * np.exp((1 - p) * a) + (1 - p) * np.exp(-p * a)).max()
        assert largest_mean(a) == pytest.approx(brute, rel=1e-4)


def test_bernsteins_bound_is_the_formula_and_never_above_one() -> None:
    log = np.log(2 / 0.05)
    expected = 0.5 + np.sqrt(2 * 0.25 * 1000 / 999 * log / 1000) + 7 * log / (3 * 999)
    assert bernstein(np.array([0.5]), np.array([0.5]), 1000, 0.05)[0] == pytest.approx(expected)
    assert bernstein(np.array([0.9]), np.array([0.85]), 5, 0.05)[0] == 1.0


@pytest.mark.parametrize("name", BOUNDED)
def test_both_bounds_hold_at_every_kl_and_temperature(name: str) -> None:
    world, (low, high) = BOUNDED[name]
    betas = (high - low) / np.array([0.5, 2.0, 6.0])
    truth = np.array([world.tilted(1 / b)[1] for b in betas] + [world.limit(k) for k in KLS])
    below = []
    for seed in range(20, 30):
        table = frontier(drawn(world, seed), betas=betas, kls=KLS, bounds=(low, high), replicates=200)
        below.append(table.at_least <= truth)
        assert np.all(table.at_most >= truth)
        assert np.all(np.diff(table.at_most[3:]) >= 0)
        assert np.all(table.at_most <= high - low)
    assert np.sum(below, axis=0).min() >= 9, "each with 99 %"


@pytest.mark.parametrize("name", BOUNDED)
def test_with_many_prompts_the_bracket_is_narrow(name: str) -> None:
    """Of the limit at half a nat, with 4,000 prompts; the spread of the prompts' own limits remains."""
    world, bounds = BOUNDED[name]
    table = limit_at(drawn(world, 0, 4000), [0.5], bounds=bounds, replicates=200)
    truth = world.limit(0.5)
    assert truth < table.at_most[0] < 1.09 * truth
    assert truth > table.at_least[0] > 0.94 * truth


def test_the_mean_of_the_statistic_is_at_least_what_it_stands_for() -> None:
    """Two samples of a fair coin: W is 1 or cosh(1 / beta), since a score is compared with the other one."""
    pairs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    centred = pairs - pairs[:, ::-1]
    for inverse in (0.3, 1.0, 3.0):
        statistic = np.exp(inverse * centred).mean()
        assert statistic > np.cosh(inverse / 2), "E e^(r - mean)"
        assert statistic == pytest.approx((1 + np.cosh(inverse)) / 2)


def test_bounds_scale_with_the_reward_and_may_differ_by_prompt() -> None:
    """Standardised scores have the bounds minus each prompt's mean, over the s.d."""
    raw = drawn(rubric(10), 0)
    centre, scale = raw.mean(axis=1), 2.5
    standard = (raw - centre[:, None]) / scale
    plain = frontier(raw, kls=KLS, betas=[2.5], bounds=(1, 10), replicates=200)
    other = frontier(
        standard, kls=KLS, betas=[1.0], bounds=((1 - centre) / scale, (10 - centre) / scale), replicates=200
    )
    assert other.at_most * scale == pytest.approx(plain.at_most, rel=1e-9)
    assert other.at_least * scale == pytest.approx(plain.at_least, rel=1e-9)


def test_an_upper_bound_is_of_the_evaluated_rewards_own_limit() -> None:
    """No policy exceeds it, whatever it optimises; without bounds there is none."""
    gold, proxy = drawn(Uniform(), 0), drawn(Uniform(), 1)
    tables = frontier(proxy, {"proxy": proxy, "gold": gold}, kls=[0.5], betas=[0.5], bounds={"gold": (0, 1)})
    assert np.isnan(tables["proxy"].at_most).all()
    own = limit_at(gold, [0.5], bounds=(0, 1))
    assert tables["gold"].at_most.tolist()[1:] == own.at_most.tolist()
    assert np.isnan(tables["gold"].at_most[0]), "the tilt by another reward at a temperature"
    assert np.isnan(tables["gold"].at_least).all()


def test_copies_of_a_prompt_in_a_cluster_do_not_narrow_the_bracket() -> None:
    r = drawn(rubric(10), 0)
    once = limit_at(r, KLS, bounds=(1, 10), replicates=200)
    four = limit_at(np.repeat(r, 4, axis=0), KLS, bounds=(1, 10), replicates=200, clusters=np.repeat(np.arange(64), 4))
    assert four.at_most == pytest.approx(once.at_most, rel=1e-6)
    assert np.all(limit_at(np.repeat(r, 4, axis=0), KLS[:3], bounds=(1, 10)).at_most < once.at_most[:3])


def test_pooled_rows_have_the_bounds_of_the_bases_samples() -> None:
    world, bounds = BOUNDED["uniform"]
    base, policy = drawn(world, 0), drawn(world, 1) ** 0.5  # density 2 r relative to the base
    both = np.concatenate([base, policy], axis=1)
    pool = Pool.of(np.repeat(["base", "policy"], 64), {"policy": np.log(2 * both)})
    pooled = limit_at(both, KLS[:3], pool=pool, bounds=bounds, replicates=200)
    alone = limit_at(base, KLS[:3], bounds=bounds, replicates=200)
    assert pooled.at_least.tolist() == alone.at_least.tolist()
    assert pooled.at_most.tolist() == alone.at_most.tolist()


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_best_of_n_has_bounds_of_its_gain_and_of_the_limit(budget: str) -> None:
    world, bounds = BOUNDED["rubric1to10"]
    ns = [1, 2, 4, 16, 64]
    exact = [world.best_of_n(n) for n in ns]
    limits = np.array([(world.limit if budget == "average" else world.limit_per_prompt)(kl) for kl, _ in exact])
    gains = np.array([gain for _, gain in exact])
    held = []
    for seed in range(8):
        table = best_of_n(drawn(world, seed), ns=ns, bounds=bounds, budget=budget, replicates=200)
        assert table.at_most.min() >= 0
        held.append([table.gain_at_least <= gains, table.at_least <= limits + 1e-6, table.at_most >= limits - 1e-6])
        assert not table.limit_reliable[-1]
    assert np.all(held), "each with 97.5 % or more"
    assert np.all(table.at_least >= table.gain_at_least), "no gain exceeds the limit"
    assert np.all(table.gain_at_least[1:] > 0.9 * gains[1:])
    soft = soft_best_of_n(drawn(world, 0), ns=[4], temperatures=[1.0], bounds=bounds, replicates=200)
    assert np.isnan(soft.gain_at_least).all(), "corrected by halves"
    assert soft.at_least[0] < soft.limit[0] < soft.at_most[0]
    assert np.isnan(best_of_n(drawn(world, 0)[:15], ns=[4]).at_least).all(), "too few prompts"


def test_the_gain_of_best_of_n_has_a_lower_bound_for_heavy_tails() -> None:
    """Lognormal rewards: the best of two has a mean of 2 P(z < 1/sqrt 2) e^(1/2)."""
    exact = 2 * ndtr(1 / np.sqrt(2)) * np.exp(0.5) - np.exp(0.5)
    held = []
    for seed in range(20):
        r = np.random.default_rng(seed).lognormal(size=(64, 64))
        held.append(best_of_n(r, ns=[2], replicates=200).gain_at_least[0] <= exact)
    assert np.mean(held) >= 0.95


def test_prompts_with_few_samples_are_left_out_and_one_sample_shows_nothing() -> None:
    r = drawn(Uniform(), 0)
    more = np.concatenate([r, np.where(np.arange(64) < 3, r, np.nan)])
    assert limit_at(more, [0.5], bounds=(0, 1)).at_most == pytest.approx(limit_at(r, [0.5], bounds=(0, 1)).at_most)
    boot = PromptBootstrap(20, replicates=100)
    assert np.isinf(Dual.of(r[:20, :1], (0, 1), boot).at(np.array([1.0]))).all()


@pytest.mark.parametrize("prompts", [300, 2100])
@pytest.mark.parametrize("clustered", [False, True])
def test_streamed_bounds_hold_and_do_not_depend_on_shards(prompts: int, clustered: bool) -> None:
    world, bounds = BOUNDED["rubric1to10"]
    r = drawn(world, 0, prompts, 32)
    grid, betas = octaves(1.5), octaves(1.5)[[8, 20]]
    clusters = np.arange(prompts) // 2 if clustered else None
    more = {"betas": grid, "bounds": bounds}
    sums = sum_shard(r, clusters=clusters, **more)
    shards = [
        sum_shard(r[i::3], keys=np.arange(prompts)[i::3], clusters=None if clusters is None else clusters[i::3], **more)
        for i in (2, 0, 1)
    ]
    assert np.array_equal(merge(shards).ends, sums.ends)
    table = read_frontier(sums, KLS, betas=betas)["optimized"]
    memory = frontier(r, kls=KLS, betas=betas, bounds=bounds, clusters=clusters, replicates=200)
    truth = np.array([world.tilted(1 / b)[1] for b in betas] + [world.limit(k) for k in KLS])
    assert np.all((table.at_least <= truth) & (truth <= table.at_most))
    assert table.at_least == pytest.approx(memory.at_least, rel=0.03)
    assert np.all(table.at_most[2:] < 1.5 * memory.at_most[2:])


def test_bad_bounds_are_refused_with_their_place() -> None:
    r = drawn(Uniform(), 0)
    with pytest.raises(EstimateError, match=r"1 score\(s\) of 'evaluated' are outside .* 1.5 \(row 3, sample 5\)"):
        limit_at(np.where(np.add.outer(64 * np.arange(64), np.arange(64)) == 3 * 64 + 5, 1.5, r), [0.5], bounds=(0, 1))
    for wrong in ((1, 0), (0, np.inf), (0, np.nan), (0, 0)):
        with pytest.raises(EstimateError, match="must be finite, the first below the second"):
            limit_at(r, [0.5], bounds=wrong)
    with pytest.raises(EstimateError, match="one for each of the 64 prompts"):
        limit_at(r, [0.5], bounds=(np.zeros(3), 1))
    with pytest.raises(EstimateError, match="Bounds of 'rm', which is not an evaluated reward"):
        frontier(r, {"gold": r}, kls=[0.5], bounds={"rm": (0, 1)})
    with pytest.raises(EstimateError, match="outside its bounds"):
        sum_shard(r, betas=octaves(), bounds=(0, 0.5))
    with pytest.raises(EstimateError, match="another pair of bounds"):
        merge([sum_shard(r, betas=[1.0], bounds=(0, 1)), sum_shard(r, betas=[1.0], keys=64 + np.arange(64))])

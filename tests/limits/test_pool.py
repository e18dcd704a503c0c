"""Limits from samples of several laws of known density: against sums, and in a world that is exact by recursion."""

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq

from alignment_limits.errors import EstimateError
from alignment_limits.exact.markov import MarkovWorld
from alignment_limits.limits import Pool, frontier, limit_at, pareto_k

PROMPTS, SAMPLES = 64, 64


def two_laws(mean=2.0, *, prompts=PROMPTS, base=SAMPLES, policy=SAMPLES, seed=0):
    """Scores of N(0, 1) and N(mean, 1), and their pool."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(size=(prompts, base)), rng.normal(mean, 1.0, (prompts, policy))], axis=1)
    laws = np.repeat(["base", "policy"], [base, policy])
    return scores, laws, mean * scores - mean**2 / 2


# --- the pool itself


def test_a_weight_is_the_bases_density_by_that_of_the_mixture():
    scores, laws, ratio = two_laws(base=48, policy=16)
    other = np.full_like(ratio, -np.inf)
    weights = Pool.of(laws, {"policy": ratio, "never": other}).weights(~np.isnan(scores))
    np.testing.assert_allclose(weights, 1 / (0.75 + 0.25 * np.exp(ratio)), rtol=1e-12)
    assert weights.max() <= 64 / 48


def test_missing_samples_have_no_weight_and_do_not_count_in_the_mixture():
    _, laws, ratio = two_laws()
    ratio[3, 70:] = np.nan
    weights = Pool.of(laws, {"policy": ratio}).weights(~np.isnan(ratio))
    np.testing.assert_array_equal(weights[3, 70:], 0.0)
    np.testing.assert_allclose(weights[3, :70], 1 / (64 / 70 + 6 / 70 * np.exp(ratio[3, :70])), rtol=1e-12)


@pytest.mark.parametrize(
    ("laws", "ratios", "message"),
    [
        (["base", "ppo"], {}, "the log-ratios of at least one law"),
        (["base", "dpo"], {"ppo": np.zeros((1, 2))}, "Sample 1 of prompt 0 is from the law 'dpo'"),
        (["ppo", "ppo"], {"ppo": np.zeros((1, 2))}, "No sample is from the base 'base'"),
        (["base"] * 3, {"ppo": np.zeros((1, 2))}, r"laws have shape \(3,\), but the samples have shape \(1, 2\)"),
        (["base", "ppo"], {"ppo": np.zeros((1, 2)), "dpo": np.zeros((1, 3))}, "all have the same shape"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_with_what_is_wrong(laws, ratios, message):
    with pytest.raises(EstimateError, match=message):
        Pool.of(laws, ratios)


def test_a_pool_of_other_samples_than_the_scores_is_refused():
    scores, laws, ratio = two_laws()
    with pytest.raises(EstimateError, match=r"pool has shape \(64, 128\), but the scores have shape \(64, 127\)"):
        frontier(scores[:, 1:], kls=[0.5], pool=Pool.of(laws, {"policy": ratio}))


def test_scores_without_log_ratios_are_refused():
    """They would be left out, and the limit is wrong if these are the high ones."""
    scores, laws, ratio = two_laws()
    ratio[7, 90] = ratio[9, 91] = np.nan
    with pytest.raises(EstimateError, match=r"Sample 90 of prompt 7 has a score and no log-ratio \(2 such samples\)"):
        limit_at(scores, [2.0], pool=Pool.of(laws, {"policy": ratio}), replicates=100)
    scores[np.isnan(ratio)] = np.nan
    assert limit_at(scores, [2.0], pool=Pool.of(laws, {"policy": ratio}), replicates=100).reliable[0]


# --- log-ratios that contradict the samples


@pytest.mark.parametrize(
    "change",
    [
        lambda ratio, laws: (-ratio, laws),
        lambda ratio, laws: (ratio / np.log(2), laws),
        lambda ratio, laws: (ratio / 20, laws),
        lambda ratio, laws: (ratio + 0.5, laws),
        lambda ratio, laws: (np.where(laws == "base", 0.0, ratio), laws),
        lambda ratio, laws: (ratio, laws[::-1]),
        lambda ratio, laws: (ratio, np.where(np.arange(len(laws)) < 96, laws, "base")),
    ],
    ids=["swapped sign", "bits", "per token", "not normalised", "only own samples", "swapped laws", "policy as base"],
)
def test_log_ratios_that_contradict_the_samples_make_every_row_unreliable(change):
    """Without the check such rows are wrong by up to 50 % and reported as reliable."""
    scores, laws, ratio = two_laws(mean=2.4)
    ratio, laws = change(ratio, laws)
    row = frontier(scores, betas=[4.0], kls=[1.0, 2.0, 3.0], pool=Pool.of(laws, {"policy": ratio}), replicates=100)
    assert not row.reliable.any()
    assert all(why.startswith("log-ratios of 'policy' contradict the samples") for why in row.reason)


def test_two_policies_with_each_others_log_ratios_are_found():
    rng = np.random.default_rng(0)
    means = {"near": 1.5, "far": 2.6}
    drawn = [rng.normal(mean, 1.0, (PROMPTS, 32)) for mean in (0.0, *means.values())]
    scores, laws = np.concatenate(drawn, axis=1), np.repeat(["base", *means], 32)
    ratios = [mean * scores - mean**2 / 2 for mean in means.values()]
    right = Pool.of(laws, dict(zip(means, ratios, strict=True)))
    swapped = Pool.of(laws, dict(zip(means, ratios[::-1], strict=True)))
    present = np.ones(scores.shape, dtype=bool)
    assert right.misfit(present) == ""
    assert "contradict" in swapped.misfit(present)


@pytest.mark.parametrize(
    ("mean", "prompts", "base", "policy"), [(2.4, 16, 16, 16), (5.0, 16, 16, 256), (0.1, 16, 64, 64), (4.0, 64, 16, 16)]
)
def test_right_log_ratios_are_not_refused(mean, prompts, base, policy):
    refused = 0
    for seed in range(100):
        scores, laws, ratio = two_laws(mean, prompts=prompts, base=base, policy=policy, seed=seed)
        refused += Pool.of(laws, {"policy": ratio}).misfit(np.ones(scores.shape, dtype=bool)) != ""
    assert refused <= 1


# --- estimates


def plugin(scores, weights, kl):
    """Gain at a mean KL by bisection, from weights, prompt by prompt."""

    def at(inverse):
        tilted = weights * np.exp(inverse * (scores - scores.max()))
        mean = (tilted * scores).sum(1) / tilted.sum(1)
        log_z = np.log(tilted.sum(1) / weights.sum(1)) + inverse * scores.max()
        return mean - (weights * scores).sum(1) / weights.sum(1), inverse * mean - log_z

    inverse = brentq(lambda x: at(x)[1].mean() - kl, 1e-6, 50, xtol=1e-14)
    return at(inverse)[0].mean()


@pytest.mark.parametrize("kl", [0.2, 1.5, 4.0])
def test_the_plug_in_gain_equals_bisection_on_weighted_sums(kl):
    scores, laws, ratio = two_laws()
    row = limit_at(scores, [kl], pool=Pool.of(laws, {"policy": ratio}), replicates=100)
    weights = 1 / (0.5 + 0.5 * np.exp(ratio))
    assert row.gain_plugin[0] == pytest.approx(plugin(scores, weights, kl), rel=1e-6)


def test_a_policy_that_is_the_base_adds_samples_and_nothing_else():
    scores, laws, _ = two_laws(mean=0.0)
    pool = Pool.of(laws, {"policy": np.zeros_like(scores)})
    pooled, plain = (frontier(scores, betas=[1.0], kls=[0.5, 1.0], pool=p, replicates=100) for p in (pool, None))
    for name in ("gain_plugin", "kl_plugin"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(plain, name), rtol=1e-9, err_msg=name)
    for name in ("ess", "pareto_k"):  # at the one temperature that is given, not found
        np.testing.assert_allclose(getattr(pooled, name)[0], getattr(plain, name)[0], rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(pooled.gain, plain.gain, rtol=0.02)  # dealt into other quarters


def test_gain_is_beta_times_the_jeffreys_divergence_of_pooled_samples_too():
    scores, laws, ratio = two_laws()
    row = frontier(scores, betas=[2.0, 0.5], pool=Pool.of(laws, {"policy": ratio}), replicates=100)
    np.testing.assert_allclose(row.gain, row.beta * (row.kl + row.kl_reverse), rtol=1e-9)


def test_the_order_of_samples_and_the_names_of_laws_do_not_matter():
    scores, laws, ratio = two_laws()
    order = np.random.default_rng(1).permutation(scores.shape[1])
    one = frontier(scores, kls=[1.0, 3.0], pool=Pool.of(laws, {"policy": ratio}), replicates=100)
    renamed = np.where(laws == "base", "pi0", "ppo")[order]
    other = frontier(
        scores[:, order], kls=[1.0, 3.0], replicates=100, pool=Pool.of(renamed, {"ppo": ratio[:, order]}, base="pi0")
    )
    for name in ("gain", "gain_low", "gain_high", "ess", "pareto_k"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, err_msg=name)


def test_laws_may_differ_between_prompts_and_their_numbers_too():
    """Rows as long as the longest; what is missing is NaN in scores and log-ratios."""
    scores, laws, ratio = two_laws(policy=32)
    every = np.broadcast_to(laws, scores.shape).copy()
    scores[::2, 90:] = ratio[::2, 90:] = np.nan
    every[1::2] = every[1::2, ::-1]
    scores[1::2], ratio[1::2] = scores[1::2, ::-1], ratio[1::2, ::-1]
    row = limit_at(scores, [2.0], pool=Pool.of(every, {"policy": ratio}), replicates=200)
    assert row.reliable[0]
    assert row.gain[0] == pytest.approx(2.0, rel=0.02)  # √(2 KL)


@pytest.mark.parametrize("budget", ["average", "per-prompt"])
def test_a_gaussian_policy_shows_the_limit_at_its_own_kl(budget):
    """N(√(2κ), 1) is the tilt itself: the pooled limit is reliable and right where base samples show nothing."""
    kls = np.array([2.8, 3.2])
    scores, laws, ratio = two_laws(mean=2.4, seed=3)
    pooled = limit_at(scores, kls, budget=budget, pool=Pool.of(laws, {"policy": ratio}))
    alone = limit_at(scores[:, :SAMPLES], kls, budget=budget)
    assert pooled.reliable.all()
    assert not alone.reliable[1]
    np.testing.assert_allclose(pooled.gain, np.sqrt(2 * kls), rtol=0.02)
    assert np.all((pooled.gain_low <= np.sqrt(2 * kls)) & (np.sqrt(2 * kls) <= pooled.gain_high))


def test_pareto_k_of_weighted_samples_is_that_of_their_products():
    scores, laws, ratio = two_laws()
    logs = Pool.of(laws, {"policy": ratio}).log_weights(~np.isnan(scores))
    inverse = np.array([0.7, 2.0])
    direct = np.stack([pareto_k(lam * scores + logs, np.array([1.0]))[:, 0] for lam in inverse], axis=1)
    np.testing.assert_allclose(pareto_k(scores, inverse, logs), direct, rtol=1e-9)


# --- a world that is exact by recursion


def test_the_recursion_equals_a_sum_over_all_replies():
    world, pairs = MarkovWorld.random(2, tokens=3, length=4, seed=1), np.random.default_rng(2).normal(size=(2, 3, 3))
    replies = np.broadcast_to(np.array(list(itertools.product(range(3), repeat=4))), (2, 81, 4))
    rows = np.arange(2)[:, None]
    base = world.first[rows, replies[..., 0]]
    for t in range(1, 4):
        base = base * world.step[rows, replies[..., t - 1], replies[..., t]]
    reward = world.reward(pairs, replies)
    tilted = base * np.exp(0.8 * reward)
    log_z = np.log(tilted.sum(1))
    tilted /= tilted.sum(1, keepdims=True)
    expected = log_z, (tilted * np.log(tilted / base)).sum(1), ((tilted - base) * reward).sum(1)
    for got, want in zip(world.tilt(pairs, 0.8), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_allclose(world.log_ratio(pairs, 0.8, replies), np.log(tilted / base), rtol=1e-9, atol=1e-12)
    drawn = world.sample(pairs, 0.8, 20_000, np.random.default_rng(3))
    number = (drawn * 3 ** np.arange(3, -1, -1)).sum(axis=2)
    for p in range(2):
        found = np.bincount(number[p], minlength=81) / 20_000
        assert np.abs(found - tilted[p]).max() < 0.01


def markov_study(kl, noise, seed=0):
    """64 base samples and 64 of a policy on each prompt; the policy is the tilt of a noisy reward at this KL."""
    rng = np.random.default_rng(seed)
    world, pairs = MarkovWorld.random(PROMPTS, seed=seed), rng.normal(size=(PROMPTS, 20, 20))
    wrong = pairs + noise * rng.normal(size=pairs.shape)
    inverse = world.limit(wrong, kl)[1]
    replies = [world.sample(pairs, 0.0, SAMPLES, rng), world.sample(wrong, inverse, SAMPLES, rng)]
    both = np.concatenate(replies, axis=1)
    scores, laws = world.reward(pairs, both), np.repeat(["base", "policy"], SAMPLES)
    return world.limit(pairs, kl)[0], scores, Pool.of(laws, {"policy": world.log_ratio(wrong, inverse, both)})


@pytest.mark.parametrize("kl", [2.4, 3.4, 5.3, 6.5])
def test_a_policy_of_nine_tenths_of_the_limit_shows_it_to_one_percent(kl):
    truth, scores, pool = markov_study(kl, noise=0.5)
    row = limit_at(scores, [kl], pool=pool, replicates=400)
    assert row.reliable[0]
    assert row.gain[0] == pytest.approx(truth, rel=0.01)
    assert row.gain_low[0] <= truth <= row.gain_high[0]
    assert kl < 3 or not limit_at(scores[:, :SAMPLES], [kl], replicates=100).reliable[0]


@pytest.mark.parametrize("kl", [3.4, 6.5])
def test_a_policy_far_from_the_tilt_is_refused_for_its_effective_sample_size(kl):
    _, scores, pool = markov_study(kl, noise=2.0)
    row = limit_at(scores, [kl], pool=pool, replicates=100)
    assert not row.reliable[0]
    assert "effective sample size" in row.reason[0]

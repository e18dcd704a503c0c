"""Distances to a tilt of the base: against exact sums, against the frontier, and the coverage of their intervals."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.exact import laws
from alignment_limits.limits.frontier import frontier
from alignment_limits.policies.target import PolicyAtBase, policy_at_base, target_distances, targets_table

SAMPLES = 60


def counted(rng, prompts, replies):
    """Laws whose probabilities are counts out of SAMPLES, and a table of samples that lists each so often."""
    counts = 1 + rng.multinomial(SAMPLES - replies, np.full(replies, 1 / replies), prompts)
    return np.log(counts / SAMPLES), np.stack([np.repeat(np.arange(replies), c) for c in counts])


def take(table, index):
    return np.take_along_axis(table, index, axis=1)


def known(base, policy, reward, of_base, of_policy):
    """A policy whose KLs are exact, as next-token KLs of replies of one token are."""
    return PolicyAtBase(
        take(policy - base, of_base), laws.kl(base, policy), take(reward, of_policy), laws.kl(policy, base)
    )


def both(base, policy, reward, beta):
    target = laws.tilt(base, reward, beta)
    return laws.kl(target, policy).mean(), laws.kl(policy, target).mean()


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_samples_that_are_the_law_give_the_exact_distances(beta):
    rng = np.random.default_rng(0)
    base, drawn = counted(rng, 5, 12)
    others = [counted(rng, 5, 12) for _ in range(3)]
    reward = rng.standard_normal(base.shape)
    policies = [known(base, law, reward, drawn, own) for law, own in others]
    found = target_distances(take(reward, drawn), beta, policies)
    for i, law in enumerate([base, *(law for law, _ in others)]):
        exact = both(base, law, reward, beta)
        assert found.forward.plugin[i] == pytest.approx(exact[0], abs=1e-9)
        assert found.reverse.plugin[i] == pytest.approx(exact[1], abs=1e-9)
        assert min(exact) > 0.01
    weights = np.exp(take(reward, drawn) / beta)
    np.testing.assert_allclose(found.ess, weights.sum(1) ** 2 / (weights**2).sum(1))


def world(seed, *, prompts=48, samples=192, replies=400, beta=1.0):
    """Many replies, five policies (the first is the target), and samples of all; with the exact distances."""
    rng = np.random.default_rng(seed)
    base = np.log(rng.dirichlet(np.ones(replies), prompts))
    reward = rng.standard_normal(base.shape)
    noise = 0.5 * rng.standard_normal(base.shape)
    policies = [
        laws.tilt(base, r, b) for r, b in ((reward, beta), (reward, 2.0), (reward + noise, 0.8), (-reward, 1.0))
    ]

    def drawn(law):
        return np.stack([rng.choice(replies, samples, p=np.exp(row) / np.exp(row).sum()) for row in law])

    of_base = drawn(base)
    at_base = [known(base, policy, reward, of_base, drawn(policy)) for policy in policies]
    exact = np.array([both(base, law, reward, beta) for law in [base, *policies]]).T
    return take(reward, of_base), at_base, exact


@pytest.fixture(scope="module")
def repeated():
    """Estimates, ends, plug-in values and exact values [worlds, 2, 1 + k], and the shares that are reliable."""
    rows = []
    for seed in range(120):
        reward, policies, exact = world(seed)
        found = target_distances(reward, 1.0, policies, replicates=400, seed=seed)
        pair = (found.forward, found.reverse)
        rows.append(
            [np.stack([getattr(d, n) for d in pair]) for n in ("estimate", "low", "high", "plugin", "reliable")]
            + [exact]
        )
    return [np.stack(each) for each in zip(*rows, strict=True)]


def test_intervals_hold_the_exact_distances(repeated):
    """Of the base and of every policy; the exact values are of the same prompts, so intervals are rather too wide."""
    _, low, high, _, reliable, exact = repeated
    assert reliable.mean() > 0.9
    held = (low - 1e-9 <= exact) & (exact <= high + 1e-9)
    assert held.mean(axis=0).min() > 0.89, held.mean(axis=0)
    assert held.mean() > 0.94


def test_the_correction_takes_the_bias_away(repeated):
    estimate, _, _, plugin, _, exact = repeated
    error = (estimate - exact).std(axis=0) / np.sqrt(len(estimate))
    bias, raw = (np.abs((v - exact).mean(axis=0)) for v in (estimate, plugin))
    assert (raw[:, 0] > 5 * error[:, 0]).all()
    assert (bias < 3 * error).all(), (bias / error).round(1)
    assert (bias[:, 0] < raw[:, 0] / 3).all()


def test_a_policy_that_is_the_target_is_at_distance_zero(repeated):
    """And its forward distance is the most exact of all: what errs in its parts cancels."""
    estimate, low, high, *_ = repeated
    at_target = estimate[:, 0, 1]
    assert abs(at_target.mean()) < 3 * at_target.std() / np.sqrt(len(at_target)) + 1e-3
    assert ((low[:, 0, 1] <= 0) & (high[:, 0, 1] >= 0)).mean() > 0.89
    widths = (high - low).mean(axis=0)
    assert widths[0, 1] < widths[0, 0]
    assert estimate[:, :, 2:].mean(axis=0).min() > 0.1


def test_the_bases_distances_are_the_frontiers_kls():
    reward, policies, _ = world(0, prompts=20, samples=64)
    draws = {"replicates": 150, "seed": 3, "level": 0.8}
    found = target_distances(reward, 1.5, policies, **draws)
    row = frontier(reward, {"own": reward}, betas=[1.5], **draws)["own"]
    assert found.forward.estimate[0] == pytest.approx(row.kl[0], abs=1e-12)
    assert found.reverse.estimate[0] == pytest.approx(row.kl_reverse[0], abs=1e-12)
    assert found.forward.low[0] == pytest.approx(row.kl_low[0], abs=1e-12)
    assert found.forward.high[0] == pytest.approx(row.kl_high[0], abs=1e-12)
    assert found.forward.plugin[0] == pytest.approx(row.kl_plugin[0], abs=1e-12)
    assert found.pareto_k == pytest.approx(row.pareto_k[0])


def test_a_target_far_from_the_base_is_not_reliable_and_says_why():
    reward, policies, _ = world(1, prompts=64, samples=64)
    near, far = (target_distances(reward, beta, policies) for beta in (2.0, 0.15))
    assert near.forward.reliable.all()
    assert near.reverse.reliable.all()
    assert np.median(far.ess) < 10
    for distances in (far.forward, far.reverse):
        assert not distances.reliable.any()
        assert all(reason.startswith("effective sample size ") for reason in distances.reason)
    between = target_distances(reward, 0.6, policies).forward
    assert between.reliable.all()
    above, below = between.high - between.estimate, between.estimate - between.low
    assert (np.maximum(above, below) > 1.2 * np.minimum(above, below)).all(), "the bias that is left has a direction"


def test_a_nucleus_that_leaves_the_others_is_infinitely_far():
    reward, policies, _ = world(2, prompts=20, samples=64)
    p = policies[1]
    ratio, of_base, spent = p.log_ratio.copy(), p.kl_of_base.copy(), p.kl.copy()
    ratio[3, 5], of_base[3] = -np.inf, np.inf
    cut = PolicyAtBase(ratio, of_base, p.scores, p.kl)
    spent[2] = np.inf
    beyond = PolicyAtBase(p.log_ratio, p.kl_of_base, p.scores, spent)
    found = target_distances(reward, 2.0, [p, cut, beyond])
    assert found.forward.estimate[2] == np.inf
    assert found.reverse.estimate[3] == np.inf
    assert np.isnan([found.forward.low[2], found.reverse.high[3]]).all()
    assert found.forward.reason[2].startswith("infinite KL")
    for distances, i in ((found.forward, 3), (found.reverse, 2)):
        assert distances.estimate[i] == pytest.approx(distances.estimate[1])
        assert distances.reliable[i]


def test_prompts_may_have_different_numbers_of_samples():
    reward, policies, _ = world(3, prompts=20, samples=64)
    reward[4, 40:] = np.nan
    found = target_distances(reward, 2.0, policies)
    assert np.isfinite(found.forward.estimate).all()
    few = reward[4:5, :40]
    alone = target_distances(
        np.repeat(few, 2, axis=0),
        2.0,
        [PolicyAtBase(*(np.repeat(a[4:5], 2, 0) for a in (p.log_ratio[:, :40], p.kl_of_base, p.scores, p.kl)))
         for p in policies],
    )  # fmt: skip
    assert found.ess[4] == pytest.approx(alone.ess[0])


@pytest.mark.parametrize("name", ["log_ratio", "kl", "kl_of_base"])
def test_other_prompts_or_samples_are_refused(name):
    reward, (policy, *_), _ = world(4, prompts=20, samples=64)
    given = {n: getattr(policy, n) for n in ("log_ratio", "kl_of_base", "scores", "kl")}
    for wrong in (given[name][:-1], np.where(np.arange(20) == 0, np.nan, given[name].T).T):
        with pytest.raises(EstimateError, match="Policy 0"):
            target_distances(reward, 1.0, [PolicyAtBase(**(given | {name: wrong}))])


def shards():
    """Tables of a base and a policy, two prompts of two samples, rows out of order."""
    keys = pl.DataFrame({"prompt_id": ["b", "a", "b", "a"], "sample_id": [1, 0, 0, 1]})
    standardised = keys.with_columns(gold=pl.Series([1.0, -1.0, -1.0, 1.0])).sort("prompt_id", "sample_id")
    scales = pl.DataFrame({"prompt_id": ["a", "b"], "reward": "gold", "centre": [10.0, 20.0], "scale": [2.0, 2.0]})
    scores = keys.with_columns(score=pl.Series([24.0, 10.0, 20.0, 12.0]))
    kl = keys.with_columns(kl=pl.Series([1.0, 2.0, 3.0, 4.0]), log_ratio=pl.lit(9.0))
    on_base = keys.with_columns(kl=pl.Series([0.1, 0.2, 0.3, 0.4]), log_ratio=pl.Series([-1.0, -2.0, -3.0, -4.0]))
    return standardised, scales, scores, kl, on_base.sort("prompt_id", "sample_id")


def test_shards_are_joined_by_key_and_roles_are_the_right_way_round():
    standardised, scales, scores, kl, on_base = shards()
    policy = policy_at_base(standardised, scales, "gold", scores, kl, on_base)
    np.testing.assert_allclose(policy.log_ratio, [[2, 4], [3, 1]])
    np.testing.assert_allclose(policy.kl_of_base, [0.3, 0.2])
    np.testing.assert_allclose(policy.scores, [[0, 1], [0, 2]])
    np.testing.assert_allclose(policy.kl, [3, 2])


def test_shards_of_other_samples_or_prompts_are_refused():
    standardised, scales, scores, kl, on_base = shards()
    with pytest.raises(ArtifactError, match="other samples than the base"):
        policy_at_base(standardised, scales, "gold", scores, kl, on_base[:3])
    with pytest.raises(ArtifactError, match="other prompts"):
        policy_at_base(standardised, scales, "gold", scores, kl.filter(pl.col("prompt_id") == "a"), on_base)


def test_the_table_has_two_rows_for_the_base_and_each_policy():
    reward, policies, _ = world(5, prompts=20, samples=64)
    found = target_distances(reward, 2.0, policies[:2])
    labels = {"p": {"objective": "pmle", "coefficient": 0.1, "seed": 3, "setting": "as-modelled", "pairs": 64}, "q": {}}
    table = targets_table(found, labels, 64, reward="gold", beta=2.0)
    assert table.select("policy", "quantity").rows() == [
        (p, q) for p in ("base", "p", "q") for q in ("forward_kl", "reverse_kl")
    ]
    row = table.row(3, named=True)
    assert (row["objective"], row["pairs"], row["setting"], row["seed"]) == ("pmle", 64, "as-modelled", 3)
    assert row["estimate"] == found.reverse.estimate[1]
    assert row["ess_share"] == pytest.approx(np.median(found.ess) / 64)
    assert table["ess_least"][0] == found.ess.min()
    assert table["pairs"].null_count() == 4

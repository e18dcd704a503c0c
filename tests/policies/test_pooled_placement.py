"""Policies whose limit is from samples of several laws: Gaussian rewards, and log-ratios known exactly."""

from math import sqrt

import numpy as np
import polars as pl
import pytest
from test_placement import row

from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.limits import Pool, limit_at
from alignment_limits.policies.placement import place
from alignment_limits.policies.table import own_pools_table, pool_of, pool_table
from alignment_limits.tables.estimates import Scores, estimate


def tilted_policy(kl, *, prompts=64, samples=64, seed=0):
    """Scores N(0, 1) of the base and N(√(2κ), 1) of its tilt, with log π/π₀ of both."""
    rng, mean = np.random.default_rng(seed), sqrt(2 * kl)
    base, policy = rng.normal(size=(prompts, samples)), rng.normal(mean, 1.0, size=(prompts, samples))
    return base, policy, tuple(mean * scores - mean**2 / 2 for scores in (base, policy))


@pytest.mark.parametrize("kl", [3.0, 6.0])
def test_the_limit_at_a_distant_policys_kl_is_from_its_samples_and_the_bases_together(kl):
    base, policy, ratios = tilted_policy(kl)
    spent = np.full((len(base), 1), kl)
    alone, pooled = row(place(base, [policy], spent)), row(place(base, [policy], spent, log_ratios=[ratios]))
    assert (alone["reliable"], alone["limit_from"]) == (False, "base")
    assert (pooled["reliable"], pooled["limit_from"]) == (True, "pool")
    assert pooled["limit"] == pytest.approx(sqrt(2 * kl), rel=0.01)
    assert pooled["efficiency_low"] <= 1 <= pooled["efficiency_high"]
    assert pooled["optimality_gap_low"] - 0.01 <= 0 <= pooled["optimality_gap_high"] + 0.01


def test_where_base_samples_show_the_limit_it_is_from_them_alone():
    base, policy, ratios = tilted_policy(0.5)
    spent, more = np.full((len(base), 1), 0.5), {"bounds": (-9, 9)}
    alone = row(place(base, [policy], spent, **more))
    pooled = row(place(base, [policy], spent, log_ratios=[ratios], **more))
    assert pooled["limit_from"] == "base"
    assert pooled == alone


def test_a_policy_that_lies_elsewhere_than_the_tilt_does_not_make_the_limit_reliable():
    """Spent on what the reward does not see: a shift of another coordinate has the KL, and no reply of the tilt."""
    rng, kl = np.random.default_rng(3), 8.0
    base, policy = rng.normal(size=(64, 64)), rng.normal(size=(64, 64))
    aside = [rng.normal(mean, 1.0, size=(64, 64)) for mean in (0.0, 4.0)]
    ratios = tuple(4.0 * each - 8.0 for each in aside)
    got = row(place(base, [policy], np.full((64, 1), kl), log_ratios=[ratios]))
    assert (got["reliable"], got["limit_from"]) == (False, "base")


def test_log_ratios_of_other_samples_are_refused():
    base, policy, ratios = tilted_policy(3.0)
    with pytest.raises(EstimateError, match=r"Log-ratios of shapes \(64, 64\) and \(64, 63\)"):
        place(base, [policy], np.full((64, 1), 3.0), log_ratios=[(ratios[0], ratios[1][:, 1:])])


def two_policies(kl=6.0, *, prompts=64, samples=64, seed=0):
    """The base draws N(0, 1) twice; the reward is the first. One policy shifts the first, one the second, by √(2κ).

    Samples (law, prompts, samples), and log π/π₀ of both policies on them.
    """
    rng, mean = np.random.default_rng(seed), sqrt(2 * kl)
    drawn = rng.normal(size=(3, 2, prompts, samples))
    drawn[1, 0] += mean
    drawn[2, 1] += mean
    return drawn[:, 0], {name: mean * drawn[:, i] - mean**2 / 2 for i, name in enumerate(("tilt", "aside"))}


def test_of_pooled_policies_one_shows_the_limit_at_the_kl_of_another():
    rewards, ratios = two_policies()
    laws = np.repeat(["base", "tilt", "aside"], 64)
    pool = Pool.of(laws, {name: np.concatenate(each, axis=1) for name, each in ratios.items()})
    spent = np.full((64, 2), 6.0)
    own = [(ratios[name][0], ratios[name][i]) for i, name in enumerate(("tilt", "aside"), start=1)]
    alone = place(rewards[0], rewards[1:], spent, log_ratios=own)
    pooled = place(rewards[0], rewards[1:], spent, log_ratios=own, pool=pool)
    assert alone.limit_from.tolist() == ["pool", "base"]
    assert pooled.limit_from.tolist() == ["pool", "pool"]
    assert pooled.limit_reliable.all()
    np.testing.assert_allclose(pooled.limit, sqrt(12.0), rtol=0.01)
    assert pooled.efficiency[1] == pytest.approx(0, abs=0.02)


def tables_of(values, first=0, **columns):
    """Columns (prompts, samples) as a long table in key order."""
    prompts, samples = values.shape
    keys = {"prompt_id": np.repeat([f"p{i:02d}" for i in range(prompts)], samples)}
    keys["sample_id"] = np.tile(np.arange(first, first + samples), prompts).astype(np.int32)
    return pl.DataFrame(keys | {name: array.ravel() for name, array in columns.items()})


def test_the_table_of_all_samples_gives_the_same_pool_and_scores():
    """From log-probabilities of each policy on the other's samples, through the table, to the pooled limit."""
    rewards, ratios = two_policies()
    base = np.random.default_rng(1).normal(-20, 3, size=rewards.shape)  # log π₀, which cancels
    names = ("tilt", "aside")
    kl = {n: tables_of(rewards[i], logprob_base=base[i]) for i, n in enumerate(names, start=1)}
    read = {
        n: {o: tables_of(rewards[i], logprob=base[i] + ratios[n][i]) for i, o in enumerate(names, start=1) if o != n}
        for n in names
    }
    pool = pool_of({n: (ratios[n][0], ratios[n][i]) for i, n in enumerate(names, start=1)}, read, kl)
    for k, name in enumerate(pool.names[1:], start=1):
        np.testing.assert_allclose(pool.log_ratios[k], np.concatenate(ratios[name], axis=1), atol=1e-9)
    standardised = tables_of(rewards[0], gold=rewards[0])
    scores = {n: {"gold": rewards[i]} for i, n in enumerate(names, start=1)}
    table = pool_table(pool, standardised, kl, {"gold": rewards[0]}, scores)
    assert not table.select("prompt_id", "sample_id").is_duplicated().any()
    (again,) = Scores.read(standardised, "gold", [], table).pools
    np.testing.assert_allclose(np.sort(again.scores["gold"]), np.sort(np.concatenate(rewards, axis=1)))
    assert again.farthest == pytest.approx(6.0, rel=0.01)
    whole = np.concatenate(rewards, axis=1)
    one = limit_at(again.scores["gold"], [6.0], pool=again.pool, replicates=100)
    other = limit_at(whole, [6.0], pool=pool, replicates=100)
    np.testing.assert_allclose([one.gain, one.ess], [other.gain, other.ess], rtol=1e-6)
    missing = {n: {o: t.head(-1) for o, t in each.items()} for n, each in read.items()}
    with pytest.raises(ArtifactError, match="policy tilt has log-probabilities of other samples than those of aside"):
        pool_of({n: (ratios[n][0], ratios[n][i]) for i, n in enumerate(names, start=1)}, missing, kl)


def tilts(kls, *, prompts=64, samples=64, seed=0):
    """The base N(0, 1) and its tilts at some KLs: scores by law, and each tilt's log-ratios on the base and itself."""
    rng, means = np.random.default_rng(seed), {f"at{kl:g}": sqrt(2 * kl) for kl in kls}
    scores = {"base": rng.normal(size=(prompts, samples))}
    scores |= {name: rng.normal(mean, 1.0, size=(prompts, samples)) for name, mean in means.items()}
    ratios = {n: tuple(m * scores[law] - m**2 / 2 for law in ("base", n)) for n, m in means.items()}
    return scores, ratios


def own_table(scores, ratios):
    names = list(ratios)
    standardised = tables_of(scores["base"], gold=scores["base"])
    keys = {name: tables_of(scores[name]) for name in names}
    theirs = {name: {"gold": scores[name]} for name in names}
    return standardised, own_pools_table(ratios, standardised, keys, {"gold": scores["base"]}, theirs)


def test_policies_that_did_not_read_each_other_extend_the_frontier_each_with_its_own_samples():
    scores, ratios = tilts([2.0, 8.0])
    standardised, table = own_table(scores, ratios)
    assert table.filter(pl.col("law") == "at2")["log_ratio/at8"].null_count() == 64 * 64
    assert table["log_ratio/at2"].drop_nulls().len() == 2 * 64 * 64
    settings = {"gold": "gold", "optimized": ["gold"], "betas": [], "kls": [0.5, 2.0], "bootstrap": 200, "seed": 0}
    rows = estimate("frontier", standardised, settings, table)
    pooled = rows.filter(samples_from="pool", budget="average").sort("kl")
    assert pooled["kl"][:2].to_list() == [0.5, 2.0]
    assert pooled["kl"][-1] == pytest.approx(8.0, rel=0.01)
    assert pooled.filter("reliable")["kl"].max() > 7.9
    np.testing.assert_allclose(pooled["gain"], np.sqrt(2 * pooled["kl"].to_numpy()), rtol=0.02)
    whole = np.concatenate([scores["base"], scores["at2"]], axis=1)
    pool = Pool.of(np.repeat(["base", "at2"], 64), {"at2": np.concatenate(ratios["at2"], axis=1)})
    again = limit_at(whole, [2.0], pool=pool, replicates=200)
    assert pooled["ess"][1] == pytest.approx(again.ess[0]), "the policy nearest to this KL"
    assert pooled["gain"][1] == pytest.approx(again.gain[0], rel=1e-3)
    assert rows.filter(samples_from="base").height == 4


def test_a_policy_far_from_the_tilt_does_not_hide_one_that_is_near():
    """Two policies of one KL; the aside one has few effective samples of the tilt."""
    rewards, ratios = two_policies()
    own = {name: (ratios[name][0], ratios[name][i]) for i, name in enumerate(("tilt", "aside"), start=1)}
    scores = {"base": rewards[0], "tilt": rewards[1], "aside": rewards[2]}
    standardised, table = own_table(scores, own)
    settings = {"gold": "gold", "optimized": ["gold"], "betas": [], "kls": [6.0], "bootstrap": 200, "seed": 0}
    pooled = estimate("frontier", standardised, settings, table).filter(samples_from="pool", budget="average", kl=6.0)
    assert pooled["reliable"].all()
    assert pooled["gain"][0] == pytest.approx(sqrt(12), rel=0.01)


def test_of_many_policies_some_of_each_kl_are_kept():
    scores, ratios = tilts(list(range(1, 31)), prompts=16, samples=4)
    _, table = own_table(scores, ratios)
    kept = [int(law.removeprefix("at")) for law in table["law"].unique() if law != "base"]
    assert len(kept) == 12
    assert min(kept) <= 3
    assert max(kept) >= 28
    assert np.diff(sorted(kept)).max() <= 6


def test_replies_that_the_base_cannot_draw_have_no_weight():
    rewards, ratios = two_policies(prompts=16, samples=16)
    base = np.zeros(rewards.shape)
    base[2, 0, :4] = -np.inf
    own = ratios["aside"][2].copy()
    own[0, :4] = np.inf
    kl = {n: tables_of(rewards[i], logprob_base=base[i]) for i, n in enumerate(("tilt", "aside"), start=1)}
    read = {
        "tilt": {"aside": tables_of(rewards[2], logprob=np.where(np.isinf(base[2]), -np.inf, ratios["tilt"][2]))},
        "aside": {"tilt": tables_of(rewards[1], logprob=ratios["aside"][1])},
    }
    pool = pool_of({"tilt": (ratios["tilt"][0], ratios["tilt"][1]), "aside": (ratios["aside"][0], own)}, read, kl)
    weights = pool.weights(np.ones(pool.law.shape, dtype=bool))
    assert (weights[0, 32:36] == 0).all()
    assert (pool.law[0, 32:36] == pool.names.index("aside")).all(), "they count among the samples of their law"
    assert np.isfinite(weights).all()

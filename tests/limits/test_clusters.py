"""Prompts that are not independent are drawn together; and no estimate depends on the order of the prompts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import PromptBootstrap, frontier, limit_at, proxy_gap, study_ensembles
from alignment_limits.limits.ensembles import member_errors
from alignment_limits.limits.streaming import merge, octaves, read_frontier, sum_shard
from alignment_limits.policies.placement import place
from alignment_limits.policies.target import PolicyAtBase, target_distances

PROMPTS, SAMPLES = 40, 32
RNG = np.random.default_rng(0)
GOLD = RNG.lognormal(sigma=0.4, size=(PROMPTS, 1)) * RNG.standard_normal((PROMPTS, SAMPLES))
PROXY = np.round(GOLD + 0.5 * RNG.standard_normal(GOLD.shape), 1)
OTHER = GOLD + 0.5 * RNG.standard_normal(GOLD.shape)
POLICY = GOLD[:, :20] + 0.3
KL = RNG.uniform(0.1, 0.4, PROMPTS)
RATIO = 0.1 * GOLD - 0.005
KEYS = RNG.permutation(10**6)[:PROMPTS]
CLUSTERS = np.array([f"template {i}" for i in RNG.integers(0, 25, PROMPTS)])
Order = np.ndarray


def at_base(order: Order) -> PolicyAtBase:
    return PolicyAtBase(RATIO[order], 0.01 + 0.1 * KL[order], POLICY[order], KL[order])


ESTIMATES: dict[str, Callable[[Order, dict[str, Any]], object]] = {
    "frontier": lambda o, k: frontier(PROXY[o], {"gold": GOLD[o]}, betas=[2.0], kls=[0.1, 0.5], **k)["gold"],
    "frontier, per prompt": lambda o, k: frontier(PROXY[o], {"g": GOLD[o]}, kls=[0.1], budget="per-prompt", **k)["g"],
    "limit_at": lambda o, k: limit_at(PROXY[o], [0.2], **k),
    "proxy_gap": lambda o, k: proxy_gap(PROXY[o], GOLD[o], betas=[2.0, 1.0], **k),
    "member_errors": lambda o, k: member_errors([PROXY[o], OTHER[o]], GOLD[o], **k),
    "study_ensembles": lambda o, k: study_ensembles([PROXY[o], OTHER[o]], GOLD[o], betas=[2.0], at_kl=0.3, **k),
    "place": lambda o, k: place(GOLD[o], [POLICY[o]], KL[o][:, None], **k),
    "target_distances, forward": lambda o, k: target_distances(GOLD[o], 2.0, [at_base(o)], **k).forward,
    "target_distances, reverse": lambda o, k: target_distances(GOLD[o], 2.0, [at_base(o)], **k).reverse,
}


def numbers(result: object) -> dict[str, np.ndarray]:
    return {name: np.atleast_1d(value) for name, value in vars(result).items() if np.asarray(value).dtype.kind == "f"}


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("clusters", [None, CLUSTERS])
def test_prompts_in_another_order_with_their_keys_change_no_number(name: str, clusters: np.ndarray | None) -> None:
    straight, order = np.arange(PROMPTS), np.random.default_rng(1).permutation(PROMPTS)
    first, other = (
        ESTIMATES[name](o, {"replicates": 200, "keys": KEYS[o], "clusters": None if clusters is None else clusters[o]})
        for o in (straight, order)
    )
    for column, value in numbers(first).items():
        np.testing.assert_allclose(numbers(other)[column], value, rtol=1e-9, atol=1e-12, err_msg=column)


@pytest.mark.parametrize("name", ESTIMATES)
def test_intervals_widen_where_each_prompt_is_there_twice_and_said_to_be(name: str) -> None:
    """Twins under one label tell as much as one of them: the interval is that of the study without twins."""
    once, twice = np.arange(PROMPTS), np.repeat(np.arange(PROMPTS), 2)
    keys = {"replicates": 2000, "keys": np.arange(2 * PROMPTS)}
    alone = numbers(ESTIMATES[name](once, {"replicates": 2000}))
    blind = numbers(ESTIMATES[name](twice, keys))
    known = numbers(ESTIMATES[name](twice, keys | {"clusters": twice}))
    drawn = [column for column in alone if column.endswith("high") and np.any(alone[column] > alone[low(column)])]
    assert drawn
    for high in drawn:
        widths = [np.abs(each[high] - each[low(high)]) for each in (alone, blind, known)]
        # At a fixed temperature intervals depend on how skewed prompts look, and samples of twins are split otherwise.
        np.testing.assert_allclose(widths[2], widths[0], rtol=0.25 if name == "proxy_gap" else 0.15)
        # An interval of a limit shrinks by more, as twice the prompts seem less skewed.
        assert (widths[1] <= 1.15 * widths[0] / np.sqrt(2)).all()


def low(column: str) -> str:
    return column.removesuffix("high") + "low"


def test_intervals_cover_a_mean_over_clusters_of_unequal_size() -> None:
    covered = {"known": 0, "blind": 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(40), rng.integers(1, 6, 40))
        values = (rng.standard_normal(40)[labels] + 0.5 * rng.standard_normal(len(labels)))[:, None]
        for name, clusters in (("known", labels), ("blind", None)):
            lo, hi = PromptBootstrap(len(labels), replicates=500, clusters=clusters).interval(values)
            covered[name] += int(lo[0] <= 0 <= hi[0])
    assert 0.91 < covered["known"] / 300 < 0.98
    assert covered["blind"] / 300 < 0.85


def test_replicates_are_means_over_the_prompts_drawn() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    boot = PromptBootstrap(6, replicates=200, clusters=labels)
    values = np.array([1.0, 1.0, 1.0, 5.0, 9.0, 9.0])
    assert boot.clusters == 3
    assert boot.counts is not None
    sizes, sums = np.array([3, 1, 2]), np.array([3.0, 5.0, 18.0])
    np.testing.assert_allclose(boot.replicates(values), boot.counts @ sums / (boot.counts @ sizes), rtol=1e-12)


def test_a_cluster_for_every_prompt_is_no_cluster() -> None:
    values = RNG.standard_normal((30, 2))
    plain = PromptBootstrap(30).interval(values)
    np.testing.assert_array_equal(
        PromptBootstrap(30, clusters=list("abcdefghijklmnopqrstuvwxyzABCD")).interval(values), plain
    )


def test_the_verdict_counts_clusters() -> None:
    table = frontier(GOLD, {"gold": GOLD}, kls=[0.1], clusters=np.arange(PROMPTS) % 15)["gold"]
    assert table.reason[0] == "only 15 independent clusters of prompts (needs 16)"
    assert not table.reliable[0]


def test_streamed_sums_keep_clusters_together() -> None:
    """Twins under one label are in one group: the jackknife's interval is that of the study without twins."""
    rng = np.random.default_rng(2)
    r = rng.lognormal(sigma=0.4, size=(400, 1)) * rng.standard_normal((400, 32))
    twins, names = np.repeat(r, 2, axis=0), np.repeat(np.arange(400), 2)
    keys = np.arange(800) + 10_000
    alone = read_frontier(sum_shard(r, {}, betas=octaves()), [0.2])["optimized"]
    known = read_frontier(sum_shard(twins, {}, betas=octaves(), keys=keys, clusters=names), [0.2])["optimized"]
    blind = read_frontier(sum_shard(twins, {}, betas=octaves(), keys=keys), [0.2])["optimized"]
    widths = [float(t.gain_high[0] - t.gain_low[0]) for t in (alone, known, blind)]
    np.testing.assert_allclose(widths[1], widths[0], rtol=0.2)
    np.testing.assert_allclose(widths[2], widths[0] / np.sqrt(2), rtol=0.25)
    few = read_frontier(sum_shard(twins, {}, betas=octaves(), keys=keys, clusters=names % 15), [0.2])["optimized"]
    assert "independent clusters of prompts (needs 16)" in few.reason[0]
    with pytest.raises(EstimateError, match="another use of clusters"):
        merge([sum_shard(r, {}, betas=[1.0]), sum_shard(r, {}, betas=[1.0], keys=keys[:400], clusters=names[:400])])


def test_clusters_and_keys_of_other_prompts_are_refused() -> None:
    with pytest.raises(EstimateError, match="clusters must be 5 labels, one per prompt; got shape"):
        PromptBootstrap(5, clusters=[1, 2])
    with pytest.raises(EstimateError, match=r"Row 1 has no cluster \(2 such rows\)"):
        PromptBootstrap(4, clusters=np.array(["a", None, "b", float("nan")], dtype=object))
    with pytest.raises(EstimateError, match="keys must be 5 whole numbers"):
        PromptBootstrap(5, keys=np.arange(4))

"""The parts of a policy's distance from its optimum: sums, exact laws, and what is unknown."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.exact.laws import gain, kl, tilt
from alignment_limits.limits import frontier
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.policies.gap import References, Trained, decompose, gaps, tilt_objective, tilts_of

BETA, P, R = 0.5, 24, 12
SPLIT = np.arange(P) % 3 != 0


@pytest.fixture(scope="module")
def world():
    """Listed replies: the base, a reward, and three laws."""
    rng = np.random.default_rng(0)

    def law(spread):
        raw = spread * rng.normal(size=(P, R))
        return raw - np.logaddexp.reduce(raw, axis=1, keepdims=True)

    base, reward = law(1.0), rng.normal(size=(P, R))
    return base, reward, [tilt(base, reward + noise * rng.normal(size=(P, R)), BETA) for noise in (0.2, 0.5, 1.0)]


def worth(world, law):
    base, reward, _ = world
    return gain(law, base, reward) - BETA * kl(law, base)


def by_part(rows):
    return {row["part"]: row for row in rows}


def test_the_total_is_beta_times_the_kl_to_the_tilt_and_the_sum_of_its_parts(world):
    base, reward, (fit, longer, policy) = world
    best = tilt(base, reward, BETA)
    of = References(worth(world, best), worth(world, fit), worth(world, best), "theory", worth(world, longer))
    boot = PromptBootstrap(P, replicates=200)
    for split in (SPLIT, np.ones(P, dtype=bool)):
        rows = by_part(decompose(worth(world, policy), of, split, boot))
        held = ~split if (~split).any() else split
        to_tilt = BETA * kl(policy, best)
        assert rows["total"]["value"] == pytest.approx(to_tilt[held].mean(), abs=1e-9)
        parts = [row["value"] for name, row in rows.items() if name != "total" and row["basis"] != "unknown"]
        assert sum(parts) == pytest.approx(rows["total"]["value"], abs=1e-9)
        assert rows["expressibility"]["value"] == pytest.approx((BETA * kl(fit, best))[split].mean(), abs=1e-9)
        apart = BETA * (kl(policy, best) - kl(longer, best))
        assert rows["optimisation"]["value"] == pytest.approx(apart[split].mean(), abs=1e-9)
        assert rows["objective"]["value"] == 0
        if (~split).any():
            grown = to_tilt[~split].mean() - to_tilt[split].mean()
            assert rows["generalisation"]["value"] == pytest.approx(grown, abs=1e-9)
        else:
            assert rows["generalisation"]["basis"] == "unknown"


def test_unknown_parts_are_in_the_rest(world):
    base, reward, (_, _, policy) = world
    of = References(worth(world, tilt(base, reward, BETA)))
    rows = by_part(decompose(worth(world, policy), of, SPLIT, PromptBootstrap(P, replicates=200)))
    assert [name for name, row in rows.items() if row["basis"] == "unknown"] == [
        "expressibility", "objective", "optimisation",
    ]  # fmt: skip
    both = rows["generalisation"]["value"] + rows["rest"]["value"]
    assert both == pytest.approx(rows["total"]["value"], abs=1e-9)


def test_intervals_are_those_of_two_separate_groups_of_prompts():
    """Their width is that of a difference of two independent means, whatever the two means are."""
    rng, prompts = np.random.default_rng(1), 400
    split = np.arange(prompts) < 300
    policy = np.where(split, 5.0, -3.0) + np.where(split, 1.0, 2.0) * rng.normal(size=prompts)
    of = References(np.zeros(prompts))
    row = by_part(decompose(policy, of, split, PromptBootstrap(prompts)))["generalisation"]
    error = np.sqrt(policy[split].var(ddof=1) / 300 + policy[~split].var(ddof=1) / 100)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.07)
    assert row["low"] < row["value"] < row["high"]


def test_the_tilts_objective_is_that_of_the_limit_and_corrected_for_few_samples():
    scores = np.random.default_rng(0).normal(size=(4000, 32))
    assert tilt_objective(scores, 1.0).mean() == pytest.approx(0.5, abs=0.012)
    keys = np.random.default_rng(2).permutation(100)
    few = np.where(np.random.default_rng(1).random((100, 32)) < 0.9, scores[:100], np.nan)
    row = frontier(few, betas=[0.8], seed=3, keys=keys, replicates=100)
    own = tilt_objective(few, 0.8, seed=3, keys=keys).mean()
    assert own == pytest.approx(row.gain[0] - 0.8 * row.kl[0], abs=1e-9)


def test_tilts_are_those_of_each_reward_and_coefficient():
    rng = np.random.default_rng(0)
    scores = {"gold": rng.normal(size=(32, 32)), "heavy": rng.exponential(size=(32, 32)) ** 2}
    policies = [Trained("a", "rloo", r, beta, 0, "all", "fixed") for r, beta in (("gold", 1.0), ("heavy", 1.0))]
    found = tilts_of(policies, scores, seed=1, replicates=100)
    assert {*found} == {("gold", 1.0), ("heavy", 1.0)}
    np.testing.assert_allclose(found["gold", 1.0][0], tilt_objective(scores["gold"], 1.0, seed=1))
    assert found["gold", 1.0][1] == ""
    assert "heavy upper tail" in found["heavy", 1.0][1]


def test_a_table_says_what_each_part_is_compared_with():
    common = {"optimized": "gold", "coefficient": 1.0, "network": "lora"}
    policies = [
        Trained("short", "grpo", seed=0, ended="cut short", **common),
        Trained("long", "grpo", seed=1, ended="converged", **common),
        Trained("other-beta", "grpo", "gold", 2.0, 0, "lora", "converged"),
        Trained("fit", "tilt", seed=0, ended="fixed", **common),
        Trained("all-weights", "tilt", "gold", 1.0, 0, "all", "fixed"),
    ]
    rng, ids = np.random.default_rng(0), [f"p{i:02d}" for i in range(16)]
    rows = [
        {
            "policy": p.policy,
            "evaluated": "gold",
            "prompt_id": i,
            "gain": rng.random(),
            "kl": 0.1,
            "trained": k % 2 == 0,
        }
        for p in policies
        for k, i in enumerate(ids)
    ]
    tilts = {("gold", 1.0): (np.ones(16), ""), ("gold", 2.0): (np.ones(16), "few samples")}
    table = gaps(
        policies, pl.DataFrame(rows), tilts, PromptBootstrap(16, replicates=200), same_optimum=["tilt"],
        exact={"long": 0.25},
    )  # fmt: skip
    parts = {(r["policy"], r["part"]): r for r in table.iter_rows(named=True)}
    assert parts["short", "optimisation"]["against"] == "long"
    assert parts["short", "expressibility"]["against"] == "fit"
    assert parts["short", "objective"]["basis"] == "unknown"
    assert parts["long", "objective"]["basis"] == "exact"
    assert parts["long", "objective"]["value"] == pytest.approx(0.25)
    assert parts["long", "optimisation"]["value"] == 0
    assert parts["other-beta", "optimisation"]["value"] == 0
    assert parts["other-beta", "expressibility"]["basis"] == "unknown"
    assert not parts["other-beta", "total"]["reliable"]
    assert parts["other-beta", "total"]["reason"] == "few samples"
    assert parts["fit", "objective"]["basis"] == "theory"
    assert parts["all-weights", "expressibility"]["against"] == "all-weights"
    known = table.filter(pl.col("basis") != "unknown")
    total = known.filter(pl.col("part") == "total").select("policy", total="value")
    rest = known.filter(pl.col("part") != "total").group_by("policy").agg(pl.col("value").sum())
    both = total.join(rest, on="policy")
    np.testing.assert_allclose(both["total"], both["value"], atol=1e-9)

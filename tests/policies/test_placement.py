"""Policies whose place is known in closed form: rewards that are Gaussian under base and policy."""

import itertools
from math import erf, log, sqrt

import numpy as np
import polars as pl
import pytest

from alignment_limits.ensembles.scales import aggregate, standardise
from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.worlds import Bernoulli
from alignment_limits.policies.placement import mean_over_prompts, place, win_rates
from alignment_limits.policies.table import labelled, on_base_scale, per_prompt, placements

P, M = 200, 256


def gaussian(mean, sd, *, seed=0, prompts=P, samples=M):
    """Base scores N(0, 1), policy scores N(mean, sd²), and its KL to the base (the same at every prompt)."""
    rng = np.random.default_rng(seed)
    base, policy = rng.normal(size=(prompts, samples)), rng.normal(mean, sd, size=(prompts, samples))
    kl = (mean**2 + sd**2 - 1 - log(sd**2)) / 2
    return base, policy, np.full((prompts, 1), kl)


def row(placement):
    return {name: values[0] for name, values in placement.columns().items()}


@pytest.mark.parametrize(("mean", "sd"), [(1.0, 1.0), (0.5, 1.0), (0.5, 0.6), (0.0, 1.5), (-0.4, 1.0)])
def test_a_gaussian_policy_stands_where_its_formulas_say(mean, sd):
    """Gain μ, limit √(2κ), efficiency μ/√(2κ), KL(π‖π_β) with π_β = N(√(2κ), 1), win rate Φ(μ/√(1+s²))."""
    base, policy, kl = gaussian(mean, sd)
    got, limit = row(place(base, [policy], kl)), sqrt(2 * kl[0, 0])
    assert got["reliable"]
    assert got["limit"] == pytest.approx(limit, rel=0.03)
    assert got["beta"] == pytest.approx(1 / limit, rel=0.06)
    win = (1 + erf(mean / sqrt(1 + sd**2) / sqrt(2))) / 2
    gap = ((mean - limit) ** 2 + sd**2 - 1 - log(sd**2)) / 2
    for name, truth in (("gain", mean), ("efficiency", mean / limit), ("win_rate", win), ("optimality_gap", gap)):
        assert got[f"{name}_low"] - 0.01 <= truth <= got[f"{name}_high"] + 0.01, name
        assert got[f"{name}_high"] - got[f"{name}_low"] < 0.15, name


def test_intervals_cover_the_truth_when_kl_and_spread_differ_between_prompts():
    """A policy that moves every prompt's reward by its own amount, against the exact average limit."""
    mean, sd, runs = 0.7, 0.8, 100
    held = dict.fromkeys(("gain", "efficiency", "optimality_gap", "win_rate"), 0)
    rng = np.random.default_rng(5)
    spread = np.exp(rng.normal(0, 0.3, 200_000))
    kappa = (mean**2 * np.mean(spread**2) + sd**2 - 1 - log(sd**2)) / 2
    # with spread σ_x the limit is λE[σ²] at E[KL] = λ²E[σ²]/2
    limit = sqrt(2 * kappa * np.mean(spread**2))
    gain = mean * np.mean(spread**2)
    beta = np.mean(spread**2) / limit
    win = np.mean([(1 + erf(mean * s / sqrt(1 + sd**2) / sqrt(2))) / 2 for s in spread[:20_000]])
    truth = {"gain": gain, "efficiency": gain / limit, "optimality_gap": (limit - gain) / beta, "win_rate": win}
    for run in range(runs):
        rng = np.random.default_rng(run)
        s = np.exp(rng.normal(0, 0.3, 64))[:, None]
        base, policy = s * rng.normal(size=(64, 64)), s * (mean * s + sd * rng.normal(size=(64, 64)))
        kl = ((mean * s) ** 2 + sd**2 - 1 - log(sd**2)) / 2
        got = row(place(base, [policy], kl, replicates=400))
        for name in held:
            held[name] += got[f"{name}_low"] <= truth[name] <= got[f"{name}_high"]
    assert {name: h / runs for name, h in held.items() if not 0.88 <= h / runs <= 0.998} == {}


def test_the_gap_is_the_kl_to_the_tilt_summed_over_all_replies():
    """A world of 6 replies: KL(π‖π_β) at the β of the limit at π's KL, by its definition."""
    rng = np.random.default_rng(2)
    r, base_law = rng.normal(size=6), rng.dirichlet(np.ones(6))
    policy_law = base_law * np.exp(0.5 * r + 0.4 * rng.normal(size=6))
    policy_law /= policy_law.sum()
    kl = (policy_law * np.log(policy_law / base_law)).sum()
    low, high = 0.0, 50.0
    for _ in range(200):
        lam = (low + high) / 2
        tilt = base_law * np.exp(lam * r)
        tilt /= tilt.sum()
        low, high = (lam, high) if (tilt * np.log(tilt / base_law)).sum() < kl else (low, lam)
    base, policy = (rng.choice(r, (60, 4000), p=law) for law in (base_law, policy_law))
    got = row(place(base, [policy], np.full((60, 1), kl)))
    assert got["beta"] == pytest.approx(1 / lam, rel=0.02)
    assert got["limit"] == pytest.approx(((tilt - base_law) * r).sum(), rel=0.01)
    assert got["optimality_gap"] == pytest.approx((policy_law * np.log(policy_law / tilt)).sum(), abs=0.01)


def test_the_win_rate_counts_every_pair_and_half_of_every_tie():
    rng = np.random.default_rng(0)
    policy, base = rng.integers(0, 4, (3, 7)).astype(float), rng.integers(0, 4, (3, 9)).astype(float)
    policy[1, 5:] = np.nan
    base[2, 8] = np.nan
    for got, ours, theirs in zip(win_rates(policy, base), policy, base, strict=True):
        pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(ours[~np.isnan(ours)], theirs[~np.isnan(theirs)])]
        assert got == pytest.approx(np.mean(pairs), abs=1e-12)


def test_the_base_itself_has_no_efficiency():
    base, policy, _ = gaussian(0.0, 1.0)
    got = row(place(base, [policy], np.zeros((P, 1))))
    assert got["gain_low"] <= 0 <= got["gain_high"]
    assert got["limit"] == 0
    assert got["optimality_gap"] == 0
    assert np.isnan([got["efficiency"], got["efficiency_low"], got["efficiency_high"]]).all()
    assert not got["reliable"]
    assert "no KL" in got["reason"]


def test_an_infinite_kl_has_no_limit_but_a_gain():
    base, policy, kl = gaussian(1.0, 1.0)
    several = np.concatenate([kl, kl], axis=1)
    several[3, 1] = np.inf
    both = place(base, [policy, policy], several, bounds=(-9, 9))
    assert np.isnan([both.limit[1], both.efficiency[1], both.optimality_gap[1], both.beta[1]]).all()
    assert "infinite KL" in both.reason[1]
    assert both.gain[0] == both.gain[1]
    alone = row(place(base, [policy], kl, bounds=(-9, 9)))
    assert both.at_most[0] < both.at_most[1] < 11, "at infinite KL, of the best score"
    for name, value in row(both).items():
        same = value == alone[name] if isinstance(value, str) else value == pytest.approx(alone[name], rel=1e-9)
        assert same, f"another policy's KL moves {name}"


def test_a_kl_beyond_the_samples_reach_is_not_read():
    base, policy, kl = gaussian(1.0, 1.0, samples=32)
    got = row(place(base, [policy], np.full_like(kl, 6.0)))
    assert not got["reliable"]
    assert got["reason"]
    assert np.isnan(got["limit"])
    assert np.isnan(got["efficiency"])


def test_gain_and_win_rate_have_verdicts_of_their_own():
    """They need prompts, not samples that show a limit."""
    base, policy, kl = gaussian(1.0, 1.0, prompts=16, samples=32)
    got = row(place(base, [policy], np.full_like(kl, 6.0)))
    assert (got["reliable"], got["gain_reliable"], got["win_rate_reliable"]) == (False, True, True)
    assert (got["limit_reliable"], got["efficiency_reliable"]) == (False, False)
    assert got["reason"] == got["efficiency_reason"] == got["limit_reason"] != ""
    got = row(place(base[:15], [policy[:15]], kl[:15]))
    assert got["gain_reason"] == got["win_rate_reason"] == "only 15 prompts (needs 16)"
    policy = base + np.eye(16)[0][:, None]
    got = row(place(base, [policy], kl))
    assert got["gain_reason"] == "only 1.1 prompts carry the spread of the gain (needs 3)"
    assert not got["gain_reliable"]


def test_a_share_needs_a_reliable_gain_and_a_reliable_limit():
    base, policy, kl = gaussian(1.0, 1.0, prompts=64, samples=64)
    policy = policy + 50 * np.eye(64)[0][:, None]  # one prompt carries the spread of the gain
    got = row(place(base, [policy], np.full_like(kl, 0.5)))
    assert (got["limit_reliable"], got["gain_reliable"], got["efficiency_reliable"]) == (True, False, False)
    assert (got["reliable"], got["reason"]) == (False, got["gain_reason"])


def test_a_row_that_is_not_reliable_has_bounds_and_the_policys_own_gain_counts():
    """Pass rates of a quarter. The policy that always passes, at log 4 nats, is the limit there."""
    rng = np.random.default_rng(0)
    base, policy = (rng.random((64, 64)) < 0.25).astype(float), np.ones((64, 64))
    spent = np.full((64, 3), [np.log(4), 0.2, 6.0])
    got = place(base, [policy, base, policy], spent, bounds=(0, 1))
    exact = Bernoulli(p=0.25).limit(0.2)
    assert got.at_least[0] > 0.73, "from the gain; the plug-in shows less"
    assert got.at_least[0] <= 0.75 <= got.at_most[0] < 0.78
    assert got.at_least[1] <= exact <= got.at_most[1] < 1.2 * exact
    assert not got.limit_reliable[2]
    assert got.at_least[2] <= 0.75 <= got.at_most[2]
    assert np.isnan(place(base[:15], [policy[:15]], spent[:15, :1]).at_least).all()
    with pytest.raises(EstimateError, match="'a policy' are outside its bounds"):
        place(base, [policy + 1], spent[:, :1], bounds=(0, 1))


def test_negative_and_infinite_means_are_shown_as_they_are():
    values = np.array([[-0.5, 1.0, np.inf], [-0.1, 2.0, 1.0]])
    mean, low, high = mean_over_prompts(values, PromptBootstrap(2, replicates=200))
    assert mean.tolist() == [-0.3, 1.5, np.inf]
    assert np.isnan([low[2], high[2]]).all()
    assert np.isfinite(low[:2]).all()


def test_unusable_kls_are_refused():
    base, policy, kl = gaussian(1.0, 1.0)
    with pytest.raises(EstimateError, match="NaN"):
        place(base, [policy], kl * np.nan)
    with pytest.raises(EstimateError, match="base's 200 prompts"):
        place(base, [policy[:-1]], kl)


def scores_table(values):
    rows = [(f"p{i}", j, v, False) for i, r in enumerate(values) for j, v in enumerate(r)]
    names = ["prompt_id", "sample_id", "score", "truncated"]
    return pl.DataFrame(rows, schema=names, orient="row").sample(fraction=1, shuffle=True, seed=0)


@pytest.fixture
def world():
    """Two rewards of 5 prompts in their own units: base samples, a policy's, and an ensemble of both."""
    rng = np.random.default_rng(3)
    raw = {name: rng.normal(b, s, (5, 40)) for name, b, s in (("a", 3, 2), ("b", -7, 0.1))}
    own = {name: values[:, :20] + 0.3 * values.std() for name, values in raw.items()}
    ensembles = {"both": {"members": ["a", "b"], "aggregator": "minimum", "penalty": 0.5}}
    return raw, own, ensembles


def test_a_policys_rewards_are_put_on_the_bases_scale(world):
    raw, own, ensembles = world
    standard = {name: standardise(values) for name, values in raw.items()}
    scales = pl.concat(
        pl.DataFrame(
            {"reward": name, "prompt_id": [f"p{i}" for i in range(5)], "centre": s.centre, "scale": s.scale}
        ).reverse()
        for name, s in standard.items()
    )
    base = {name: s.scores for name, s in standard.items()}
    got = on_base_scale({n: scores_table(v) for n, v in own.items()}, scales, base, ensembles)
    for name, values in raw.items():
        centred = values - values.mean(1, keepdims=True)
        sd = np.sqrt((centred**2).sum() / (centred.size - 5))
        np.testing.assert_allclose(got[name], (own[name] - values.mean(1, keepdims=True)) / sd, atol=1e-12)
    worst, base_worst = (aggregate(np.stack([x["a"], x["b"]]), "minimum") for x in (got, base))
    centred = base_worst - base_worst.mean(1, keepdims=True)
    sd = np.sqrt((centred**2).sum() / (centred.size - 5))
    np.testing.assert_allclose(got["both"], (worst - base_worst.mean(1, keepdims=True)) / sd, atol=1e-12)
    with pytest.raises(ArtifactError, match="other prompts than the base"):
        on_base_scale({n: scores_table(v[:4]) for n, v in own.items()}, scales, base, ensembles)


def test_the_table_has_a_row_for_every_policy_and_reward():
    base, policy, _ = gaussian(0.8, 1.0, prompts=20, samples=64)
    rng = np.random.default_rng(1)
    keys = {"prompt_id": np.repeat([f"p{i:02d}" for i in range(20)], 64), "sample_id": np.tile(np.arange(64), 20)}
    kl = pl.DataFrame(keys | {"kl": rng.exponential(0.32, 1280), "log_ratio": rng.normal(0.32, 1, 1280)})
    away = kl.with_columns(kl=pl.when(pl.col("sample_id") == 0).then(np.inf).otherwise(pl.col("kl")))
    table = placements(
        {"gold": base, "proxy": -base},
        {"near": {"gold": policy, "proxy": -policy}, "cut": {"gold": policy, "proxy": -policy}},
        {"near": kl.sample(fraction=1, shuffle=True, seed=1), "cut": away},
        replicates=200,
        seed=0,
    )
    assert table.select("policy", "evaluated").n_unique() == table.height == 4
    near = table.row(by_predicate=(pl.col("policy") == "near") & (pl.col("evaluated") == "proxy"), named=True)
    assert near["kl"] == pytest.approx(kl["kl"].mean())
    assert near["kl_log_ratio"] == pytest.approx(kl["log_ratio"].mean())
    assert near["gain"] == pytest.approx(-(policy.mean() - base.mean()))
    assert near["efficiency"] < 0
    assert near["kl_low"] < near["kl"] < near["kl_high"]
    cut = table.filter(pl.col("policy") == "cut")
    assert cut["kl"].to_list() == [np.inf] * 2
    assert (near["kl_reliable"], cut["kl_reliable"].to_list()) == (True, [False] * 2)
    assert cut["kl_infinite"].to_list() == [pytest.approx(1 / 64)] * 2
    assert cut["kl_log_ratio"].to_list() == [pytest.approx(near["kl_log_ratio"])] * 2
    np.testing.assert_allclose(per_prompt(kl, "kl"), kl.group_by("prompt_id").mean().sort("prompt_id")["kl"])
    key = {"prompt_id": ["a", "b"], "sample_id": [0, 0]}
    replies = pl.DataFrame(key | {"finish_reason": ["length", "stop"], "n_tokens": [8, 4], "logprob": [-3.0, -2.0]})
    read = pl.DataFrame(key | {"logprob": [-3.0625, -1.9]}).reverse()
    none = {"objective": None, "optimized": None, "coefficient": None, "seed": None}
    full = labelled(
        table, {"near": none | {"objective": "ppo", "coefficient": 0.1}, "cut": none},
        {"near": replies, "cut": replies}, {"near": ["one", "two"], "cut": []}, {"near": read, "cut": read},
    )  # fmt: skip
    first = full.row(by_predicate=(pl.col("policy") == "near") & (pl.col("evaluated") == "gold"), named=True)
    assert (first["objective"], first["coefficient"], first["seed"]) == ("ppo", 0.1, None)
    assert (first["truncation_rate"], first["mean_tokens"], first["note"]) == (0.5, 6.0, "one; two")
    assert first["logprob_deviation"] == pytest.approx(0.1), "the largest |drawn − read|, reply by reply"


def test_labels_that_no_policy_has_keep_their_types():
    replies = pl.DataFrame(
        {"prompt_id": ["a"], "sample_id": [0], "finish_reason": ["stop"], "n_tokens": [4], "logprob": [-3.0]}
    )
    none = {"objective": None, "optimized": None, "coefficient": None, "seed": None}
    table = labelled(pl.DataFrame({"policy": ["p"]}), {"p": none}, {"p": replies}, {"p": []}, {"p": replies})
    types = {"objective": pl.String, "optimized": pl.String, "coefficient": pl.Float64, "seed": pl.Int64}
    assert {name: table.schema[name] for name in types} == types

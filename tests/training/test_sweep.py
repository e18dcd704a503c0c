"""The dial of proxy quality on a world where errors are known, and what keeps training and evaluation apart."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ArtifactError
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.ensembles import member_errors
from alignment_limits.limits.frontier import limit_at
from alignment_limits.limits.proxy_gap import gap_contributions, proxy_gap
from alignment_limits.report.figures.rewards import proxy_quality
from alignment_limits.report.figures.style import Look
from alignment_limits.training.proxies import held_out, training_arrays
from alignment_limits.training.proxy_sweep import ensembles, fit_members, onsets, proxies, within_prompt_ranks

COMMON = {"betas": [2.0, 1.0], "at_kl": 0.5, "replicates": 200, "seed": 0, "keys": None}
SETTINGS = {"noise": 0.5, "loss": "regression", "dimensions": 0.5}


@pytest.fixture(scope="module")
def world():
    """Gold is linear in 24 features; 60 prompts × 16 samples to train on, 40 × 32 to evaluate."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=24)
    train, evaluate = rng.normal(size=(960, 24)), rng.normal(size=(40, 32, 24))
    gold = evaluate @ truth
    return (train, train @ truth, np.repeat(np.arange(60), 16)), evaluate, (gold - gold.mean(1, keepdims=True)) / 5


@pytest.fixture(scope="module")
def singles(world):
    training, features, gold = world
    alone = SETTINGS | {"dimensions": 1.0}
    members = {n: fit_members(training, features, count=2, shared="neither", labels=n, **alone) for n in (20, 500)}
    return proxies(members, gold, **COMMON)


@pytest.fixture(scope="module")
def groups(world):
    aggregators = ["mean", "minimum"]
    return ensembles(*world, sizes=[4, 2], aggregators=aggregators, settings=SETTINGS | {"labels": 100}, **COMMON)


def test_more_labels_err_less_and_cost_less(singles):
    few, many = (singles.filter((pl.col("labels") == n) & (pl.col("beta") == 2)) for n in (20, 500))
    for column in ("error_variance", "gap"):
        assert many[column].max() < few[column].min()
    assert many["spearman"].min() > few["spearman"].max()
    np.testing.assert_allclose(singles["gap_predicted"], singles["error_variance"] / (2 * singles["beta"]))
    # small errors at a gentle tilt: the prediction holds
    np.testing.assert_allclose(many["gap"], many["gap_predicted"], rtol=0.15)


def test_where_gold_peaks_under_each_proxy_is_told():
    """Gold = proxy − proxy²/2 of a Gaussian proxy peaks at a mean of 1: at ½ nat of tilting, and at best of 5."""
    proxy = np.random.default_rng(0).normal(size=(60, 256))
    proxy -= proxy.mean(axis=1, keepdims=True)
    table = onsets({20: [proxy], 500: [proxy - proxy**2 / 2]}, proxy - proxy**2 / 2, replicates=200, seed=0, keys=None)
    assert table.select("labels", "path").rows() == [(n, path) for n in (20, 500) for path in ("tilt", "best-of-n")]
    bad, good = table.filter(labels=20), table.filter(labels=500)
    assert bad["found"].all()
    for row, peak in zip(bad.iter_rows(named=True), (0.5, 5), strict=True):
        assert row["peak_low"] < peak < row["peak_high"]
        assert row["peak"] == pytest.approx(peak, rel=0.2)
        assert 0 < row["drop_low"] < row["drop"]
    assert not good["found"].any()
    assert not good["peak"].is_finite().any()


def test_members_that_share_err_together_and_ensembles_of_them_stay_above_their_floor(groups):
    rho = dict(groups.filter(pl.col("k") == 4).select("shared", "rho").iter_rows())
    assert rho["neither"] < min(rho["labels"], rho["features"])
    mean = groups.filter((pl.col("aggregator") == "mean") & (pl.col("beta") == 2))
    for shared in rho:
        own = mean.filter(pl.col("shared") == shared).sort("k")
        assert own["gap"].is_sorted(descending=True)
        assert own["gap"][-1] > 0.85 * own["gap_floor"][-1]
        np.testing.assert_allclose(own["gap"], own["gap_predicted"], rtol=0.2)
    assert set(groups.filter(pl.col("k") == 1)["aggregator"]) == {"mean"}  # one is there unasked, to compare with
    assert groups.height == 3 * 2 * (1 + 2 * 2)


@pytest.mark.parametrize("count", [8, 40])
def test_an_ensembles_verdicts_are_those_of_all_its_groups(world, count):
    training, features, gold = world[0], world[1][:count], world[2][:count]
    common = COMMON | {"betas": [8.0, 2.0, 0.02]}
    settings = SETTINGS | {"labels": 100}
    rows = ensembles(training, features, gold, sizes=[2, 4], aggregators=["mean"], settings=settings, **common)
    found = rows.filter((pl.col("shared") == "neither") & (pl.col("k") == 2)).sort("beta", descending=True)
    members = fit_members(training, features, count=4, shared="neither", **settings)
    pairs = [(members[i] + members[i + 1]) / 2 for i in (0, 2)]
    gaps = [proxy_gap(pair, gold, betas=common["betas"], replicates=200) for pair in pairs]
    assert (
        found["reliable"].to_list()
        == (gaps[0].reliable & gaps[1].reliable).tolist()
        == [count == 40, count == 40, False]  # at 0.02 one sample has all the weight
    )
    at = [limit_at(pair, [0.5], evaluated=gold, replicates=200) for pair in pairs]
    assert set(found["gold_gain_at_kl_reliable"]) == {bool(at[0].reliable[0] and at[1].reliable[0])} == {count == 40}
    singles = proxies({100: members}, gold, **common)
    alone = [limit_at(member, [0.5], evaluated=gold, replicates=200).reliable[0] for member in members]
    assert singles["gold_gain_at_kl_reliable"].to_list() == np.repeat(alone, 3).tolist()


def test_what_an_ensemble_saves_is_told_from_differences_on_the_same_prompts(groups):
    mean = groups.filter((pl.col("aggregator") == "mean") & (pl.col("beta") == 2) & (pl.col("shared") == "labels"))
    one, two, four = mean.sort("k").iter_rows(named=True)
    assert (one["saved"], one["saved_low"], one["saved_high"]) == (0, 0, 0)
    for row in (two, four):
        assert row["saved"] == pytest.approx(one["gap"] - row["gap"], abs=1e-12)
        assert row["saved_low"] < row["saved"] < row["saved_high"]
        unpaired = np.hypot(one["gap_high"] - one["gap_low"], row["gap_high"] - row["gap_low"])
        assert row["saved_high"] - row["saved_low"] < 0.9 * unpaired  # prompts differ alike for both


def test_intervals_of_what_an_ensemble_saves_cover():
    """Gaussian members of variance 1 and error variance v, errors correlated by ρ: 4 save v(1 − ρ)(1 − ¼)/(2β)."""
    betas, error, rho, members = np.array([4.0, 2.0]), 1.6, 0.8, 4
    truth = error * (1 - rho) * (1 - 1 / members) / (2 * betas)
    slope = 1 - error / 2  # member = slope·gold + rest
    common = (rho * error - (1 - slope) ** 2) / (1 - slope**2)  # of the rest
    covered = np.zeros(2)
    for seed in range(200):
        gold, shared, *own = np.random.default_rng(seed).normal(size=(2 + members, 32, 64))
        rest = np.sqrt(1 - slope**2) * (np.sqrt(common) * shared + np.sqrt(1 - common) * np.stack(own))
        rewards = slope * gold + rest

        def gap(reward, gold=gold):
            return gap_contributions(reward, gold, betas, CorrectedCurve(reward, [gold], seed=0)).gap

        saved = np.mean([gap(reward) for reward in rewards], axis=0) - gap(rewards.mean(axis=0))
        low, high = PromptBootstrap(32, replicates=400, seed=0).interval(saved)
        covered += (low <= truth) & (truth <= high)
    assert np.all((covered >= 183) & (covered <= 197)), covered  # 190 expected, ± 2.3 binomial s.d.


def test_what_the_mean_is_predicted_to_err_is_what_it_errs(world):
    training, features, gold = world
    members = np.stack(fit_members(training, features, count=4, shared="labels", labels=100, **SETTINGS))
    errors = member_errors(members, gold, replicates=200)
    error = members.mean(axis=0) - gold
    observed = np.mean((error - error.mean(1, keepdims=True)) ** 2) * 32 / 31
    assert errors.variance * (errors.correlation + (1 - errors.correlation) / 4) == pytest.approx(observed)


def test_ranks_within_prompts_by_hand():
    gold = np.array([[1.0, 2, 3, 4], [1, 2, 3, np.nan], [5, 5, 5, 5]])
    proxy = np.array([[1.0, 2, 4, 3], [3, 2, 1, np.nan], [1, 2, 3, 4]])
    assert within_prompt_ranks(proxy, gold) == pytest.approx((0.8 - 1) / 2)


def test_prompts_of_the_study_are_never_trained_on():
    training = pl.DataFrame({"prompt_id": ["c", "d"], "text": ["three", "one"]})
    evaluation = pl.DataFrame({"prompt_id": ["a", "b"], "text": ["one", "two"]})
    assert held_out(training, evaluation)["prompt_id"].to_list() == ["c"]  # 'one' is asked in evaluation, too
    with pytest.raises(ArtifactError, match="1 prompts are trained and evaluated on, the first is a"):
        held_out(pl.concat([training, evaluation[:1]]), evaluation)
    with pytest.raises(ArtifactError, match="nothing to train on"):
        held_out(training[1:], evaluation)


def test_training_data_are_joined_by_key():
    keys = [("b", 0), ("a", 1), ("a", 0)]
    features = pl.DataFrame(keys, schema=["prompt_id", "sample_id"], orient="row")
    features = features.with_columns(features=pl.Series([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    scores = features.select("prompt_id", "sample_id", score=pl.Series([0.5, 1.5, 2.5]))
    x, gold, number = training_arrays(features, scores[[2, 0, 1]], pl.DataFrame({"prompt_id": ["a", "b"]}))
    assert x.tolist() == [[4, 5], [2, 3], [0, 1]]
    assert gold.tolist() == [2.5, 1.5, 0.5]
    assert number.tolist() == [0, 0, 1]
    x, _, _ = training_arrays(features, scores, pl.DataFrame({"prompt_id": ["a"]}))
    assert x.tolist() == [[4, 5], [2, 3]]
    with pytest.raises(ArtifactError, match="not of the same samples"):
        training_arrays(features, scores[1:], pl.DataFrame({"prompt_id": ["a", "b"]}))


def test_the_figure_shows_the_tables(singles, groups):
    figure = proxy_quality(singles, groups, Look(), beta=2.0)
    top, middle, bottom = figure.axes
    (points,) = [x for x in top.get_lines() if x.get_gid() == "errors"]
    assert sorted(points.get_ydata()) == sorted(singles.filter(pl.col("beta") == 2)["error_variance"])
    drawn = [y for line in middle.get_lines() if line.get_marker() == "o" for y in line.get_ydata()]
    assert sorted(drawn) == sorted(singles["gap"])
    mean = groups.filter((pl.col("aggregator") == "mean") & (pl.col("beta") == 2) & (pl.col("shared") == "labels"))
    (line,) = [x for x in bottom.get_lines() if x.get_gid() == "gap:labels"]
    assert list(line.get_ydata()) == mean.sort("k")["gap"].to_list()

"""Label noise: closed forms, identities by listing, honest gains, bounds, refusals."""

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.tables.estimators import Scores
from alignment_limits.tables.tradeoffs import ESTIMATORS
from alignment_limits.tradeoffs import label_noise, reward_for_cost
from alignment_limits.tradeoffs.label_noise import _cumulants

MAX_OF_FOUR = 1.0293753730  # mean of the largest of 4 standard normal draws


def judged(rng, prompts=64, samples=64, noise=1.0, count=2):
    reward = rng.normal(size=(prompts, samples))
    return reward, [reward + noise * rng.normal(size=reward.shape) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 3])
def test_gaussian_noise_is_taken_off(count):
    """With k judgements that select, reliability rho_k = 1 / (1 + 1 / k): gain sqrt(rho_k) E max."""
    _, marks = judged(np.random.default_rng(0), 500, 64, count=count)
    table = label_noise(marks, ns=[4], kls=[0.25, 1.0], replicates=200)
    k = count - 1
    assert table.reliability[0] == pytest.approx(0.5, abs=0.01)
    assert table.noise[0] == pytest.approx(1.0, abs=0.02)
    assert table.gain[0] == pytest.approx(MAX_OF_FOUR / np.sqrt(1 + 1 / k), abs=0.02)
    assert table.seen[0] == pytest.approx(MAX_OF_FOUR * np.sqrt(1 + 1 / k), abs=0.02)
    np.testing.assert_allclose(table.inflation, table.seen - table.gain, atol=1e-12)
    np.testing.assert_allclose(table.limit[1:], np.sqrt(2 * np.array([0.25, 1.0])), rtol=0.02)
    assert (table.at_least[1:] < table.limit_low[1:]).all()
    assert (table.limit_high[1:] < table.at_most[1:]).all()
    assert table.reliable.all()
    assert table.limit_reliable.tolist() == [False, True, True]


def test_without_noise_nothing_is_taken_off():
    reward, _ = judged(np.random.default_rng(1))
    table = label_noise([reward, reward], ns=[4], kls=[0.5], replicates=200)
    assert table.reliability[0] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(table.inflation, 0.0, atol=1e-12)
    assert table.limit[1] == pytest.approx(table.seen[1], rel=1e-9)


def test_another_judgement_shows_the_right_gain_by_listing():
    """Two replies, two equally likely marks each: the best of 2 by one mark, in another."""
    marks = np.array([[0.0, 2.0], [1.0, 5.0]])  # of each reply
    worlds = np.array([[marks[0, i], marks[1, j], marks[0, k], marks[1, m]] for i, j, k, m in np.ndindex(2, 2, 2, 2)])
    first, second = worlds[:, :2], worlds[:, 2:]
    table = label_noise([first, second], ns=[2], kls=[0.1], replicates=200)
    mean = marks.mean(axis=1)
    right = np.mean([mean[np.argmax(row)] for row in first]) - mean.mean()
    assert table.gain[0] == pytest.approx(right, abs=1e-9)
    assert table.seen[0] == pytest.approx(np.mean(first.max(axis=1) - first.mean(axis=1)), abs=1e-9)


def test_intervals_hold_the_limit_without_noise_and_bounds_do_too():
    kls, ns = [0.1, 1.0], [4]
    truth, gain = np.sqrt(2 * np.array(kls)), MAX_OF_FOUR * np.sqrt(0.5)
    inside = []
    for study in range(20):
        t = label_noise(judged(np.random.default_rng(study))[1], ns=ns, kls=kls, replicates=200, seed=study)
        inside.append(
            [
                *((t.limit_low[1:] <= truth) & (truth <= t.limit_high[1:])),
                t.gain_low[0] <= gain <= t.gain_high[0],
                ((t.at_least[1:] <= truth) & (truth <= t.at_most[1:])).all(),
                t.reliability_low[0] <= 0.5 <= t.reliability_high[0],
            ]
        )
    assert np.mean(inside, axis=0).min() >= 0.8


def test_noise_that_depends_on_the_reply_leaves_only_bounds():
    rng = np.random.default_rng(2)
    reward = rng.normal(size=(64, 64))
    marks = [reward + np.exp(-0.5 * reward) * rng.normal(size=reward.shape) for _ in range(2)]
    table = label_noise(marks, ns=[4], kls=[0.5], replicates=200)
    assert "times the noise of the base's" in table.limit_reason[1]
    assert table.at_least[1] < 1.0 < table.at_most[1]
    assert table.reliable[0]


def test_what_cannot_be_used_is_named():
    rng = np.random.default_rng(0)
    reward, marks = judged(rng, 20, 16)
    with pytest.raises(EstimateError, match="two judgements"):
        label_noise({"one": reward})
    with pytest.raises(EstimateError, match="join them by key"):
        label_noise({"one": reward, "two": reward[:5]})
    gone = marks[1].copy()
    gone[3] = np.nan
    gone[3, 0] = 1.0
    marks[0][3, 0] = np.nan
    with pytest.raises(EstimateError, match="Row 3 has no reply with all judgements"):
        label_noise([marks[0], gone])
    noise = label_noise([rng.normal(size=(64, 16)) for _ in range(2)], ns=[2], kls=[0.1], replicates=200)
    assert not (noise.limit_reliable & (noise.reliability_low > 0)).any()
    constant = label_noise([0 * reward, 0 * reward], ns=[2], kls=[0.1], replicates=200)
    assert "do not differ" in constant.reason[0]


def test_a_study_uses_the_replies_that_were_judged_twice():
    rng = np.random.default_rng(0)
    reward, (first, second) = judged(rng, 32, 32)
    second[rng.random(second.shape) < 0.3] = np.nan
    second[5] = np.nan  # a prompt that was judged once
    keys = {"prompt_id": np.repeat([f"p{i:02d}" for i in range(32)], 32), "sample_id": np.tile(np.arange(32), 32)}
    keys["sample_id"] = keys["sample_id"].astype(np.int32)
    columns = pl.DataFrame(keys | {"a": first.ravel(), "b": second.ravel()}).with_columns(pl.col("b").fill_nan(None))
    prompts = {"keys": np.arange(32), "clusters": None}
    scores = Scores("gold", {"gold": reward}, prompts, standardised=pl.DataFrame(keys), tables={"columns": columns})
    settings = {"repeats": {"human": ["a", "b"]}, "kls": [0.2], "best_of": [1, 4, 64], "bootstrap": 200, "seed": 0}
    (table,) = ESTIMATORS["label_noise"].rows(scores, [], settings)
    kept = np.isfinite(second).any(axis=1)
    alone = label_noise([np.where(np.isnan(second), np.nan, first)[kept], second[kept]], ns=[4], kls=[0.2],
                        replicates=200, keys=np.arange(32)[kept])  # fmt: skip
    assert table["n"].to_list() == [4, None]
    assert table["reward"].unique().to_list() == ["human"]
    np.testing.assert_allclose(table["gain"].to_numpy(), alone.gain, rtol=1e-12)


def test_results_draw_themselves():
    marks = judged(np.random.default_rng(0), 32, 32)[1]
    assert len(label_noise(marks, ns=[4], kls=[0.2], replicates=200).plot().axes) == 1
    assert (
        reward_for_cost(marks[0], ns=[2, 4], replicates=200).plot().axes[0].get_xlabel() == "draws for one reply, mean"
    )


def test_the_limit_of_a_reward_that_is_not_gaussian_has_no_bias_of_the_formula():
    rng = np.random.default_rng(8)
    reward = np.sqrt(12.0) * rng.random((400, 64))
    marks = [reward + rng.normal(size=reward.shape) for _ in range(2)]
    third, fourth = _cumulants(marks)
    assert abs(third.mean()) < 4 * third.std() / 20
    assert abs(fourth.mean() + 1.2) < 4 * fourth.std() / 20, "that of a uniform law of variance 1"
    grid = np.sqrt(12.0) * (np.arange(20_000) + 0.5) / 20_000
    low, high = 0.01, 20.0
    for _ in range(60):  # the tilt with a KL of 1
        middle = (low + high) / 2
        w = np.exp(middle * (grid - grid.max()))
        w /= w.sum()
        low, high = (middle, high) if np.sum(w * np.log(w * 20_000)) < 1 else (low, middle)
    exact = w @ grid - grid.mean()
    table = label_noise(marks, ns=[2], kls=[1.0], replicates=200)
    assert table.limit[1] == pytest.approx(exact, rel=0.015), "2.7 % too high with the formula alone"

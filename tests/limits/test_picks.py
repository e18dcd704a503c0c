"""Best-of-n's rows: the prompts that have the samples, a verdict for each quantity, and clusters drawn whole."""

from math import comb

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import ArtifactError
from alignment_limits.limits import (
    PromptBootstrap,
    best_of_n,
    best_of_poisson,
    chi2_pessimism,
    limit_at,
    soft_best_of_n,
)
from alignment_limits.limits.best_of_n import study_choice
from alignment_limits.limits.compare import compare
from alignment_limits.limits.means import Mean, behind, judge_means
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.estimates import BEST_OF_N

QUANTITIES = ("gain", "kl", "win_rate", "limit", "efficiency")


def table(rows: dict[str, np.ndarray]) -> pl.DataFrame:
    return pl.DataFrame(rows).with_columns(
        pl.col("n", "temperature").fill_nan(None), optimized=pl.lit("own"), evaluated=pl.lit("own")
    )


@pytest.fixture(scope="module")
def unequal() -> np.ndarray:
    """64 prompts of 64 samples, but for 6 that have 3 and one that has 2."""
    r = np.random.default_rng(0).standard_normal((64, 64))
    r[:6, 3:] = np.nan
    r[6, 2:] = np.nan
    return r


def test_rows_are_over_the_prompts_that_have_the_samples(unequal: np.ndarray) -> None:
    t = best_of_n(unequal, {"own": unequal}, ns=[1, 2, 3, 4])["own"]
    assert t.prompts.tolist() == [64, 64, 63, 57]
    alone = best_of_n(unequal[7:], {"own": unequal[7:]}, ns=[4], keys=np.arange(7, 64))["own"]
    for name in ("gain", "kl", "win_rate", "limit", "efficiency", "tilt_gain"):
        np.testing.assert_allclose(getattr(t, name)[3], getattr(alone, name)[0], rtol=1e-9)
    assert t.gain_reliable.all()
    np.testing.assert_allclose(
        [t.gain_high[3] - t.gain_low[3]], alone.gain_high - alone.gain_low, rtol=0.1
    )  # the same prompts, drawn among others


def test_no_row_calls_reliable_what_it_has_no_number_for(unequal: np.ndarray) -> None:
    settings = {"ns": [1, 2, 4, 64, 65], "relatives": True, "temperatures": [0.5], "betas": [2.0]}
    choice = study_choice(unequal, {"own": unequal}, **settings)
    for budget in ("average", "per-prompt"):
        t = compare(choice, unequal, {"own": unequal}, budget=budget, replicates=200, seed=0)["own"]
        assert set(t.method) == {"best-of-n", "soft-best-of-n", "best-of-poisson", "chi2-pessimism"}
        for name in QUANTITIES:
            told = getattr(t, f"{name}_reliable")
            for end in ("", "_low", "_high"):
                assert np.isfinite(getattr(t, f"{name}{end}")[told]).all()
            assert np.array_equal(told, getattr(t, f"{name}_reason") == "")
        nobody = t.n == 65
        assert t.prompts[nobody].tolist() == [0]
        assert "no prompt has" in t.gain_reason[nobody][0]
        assert np.isnan(t.win_rate[t.n == 64]).all()
        assert not t.win_rate_reliable[t.n == 64].any()


def test_a_table_that_calls_nan_reliable_is_not_written(tmp_path, unequal: np.ndarray) -> None:
    good = table(best_of_n(unequal, {"own": unequal}, ns=[1, 4])["own"].columns())
    provenance = {"study": "s", "stage": "t", "versions": {}}
    write_table(good, tmp_path / "good.parquet", BEST_OF_N, provenance)
    for column, verdict in (("gain", "gain_reliable"), ("win_rate_low", "win_rate_reliable"), ("limit", "reliable")):
        none = [pl.lit(False).alias(each) for each in BEST_OF_N.verdicts if each != verdict]
        bad = good.with_columns(pl.lit(float("nan")).alias(column), pl.lit(True).alias(verdict), *none)
        with pytest.raises(ArtifactError, match=f"row 0 of 'best_of_n' has no number in '{column}'"):
            write_table(bad, tmp_path / "bad.parquet", BEST_OF_N, provenance)
        assert not (tmp_path / "bad.parquet").exists()


def test_pass_at_k_is_reliable_up_to_all_samples_and_the_unbiased_estimator() -> None:
    rng = np.random.default_rng(1)
    r = (rng.random((64, 64)) < rng.beta(1, 3, (64, 1))) * 1.0
    ks = [1, 8, 16, 32, 64]
    t = best_of_n(r, {"own": r}, ns=ks)["own"]
    hits = r.sum(axis=1).astype(int)
    exact = [np.mean([1 - comb(64 - c, k) / comb(64, k) for c in hits]) for k in ks]
    np.testing.assert_allclose(t.gain + r.mean(), exact, rtol=0, atol=1e-12)
    assert t.gain_reliable.all()
    assert not t.efficiency_reliable[1:].any()  # 16 n samples are needed to compare with the limit
    assert t.kl_reliable.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_reward_is_not_known_from_one_pick_of_each_prompt(seed: int) -> None:
    """Gold has 2 % of hits, and the proxy knows nothing of it: at n = M a prompt shows one sample of gold."""
    rng = np.random.default_rng(seed)
    gold, proxy = (rng.random((64, 64)) < 0.02) * 1.0, rng.standard_normal((64, 64))
    t = best_of_n(proxy, {"gold": gold, "proxy": proxy}, ns=[1, 2, 32, 64])
    assert t["gold"].gain_reliable.tolist() == [True, True, False, False]
    assert "independent picks" in t["gold"].gain_reason[3]
    assert t["proxy"].gain_reliable.all()


def test_the_limit_is_the_evaluated_rewards_own_on_its_own_scale() -> None:
    rng = np.random.default_rng(2)
    proxy = rng.standard_normal((64, 64))
    gold = 7.0 * (0.5 * proxy + rng.exponential(1.0, proxy.shape))
    t = best_of_n(proxy, {"gold": gold, "proxy": proxy}, ns=[2, 4])
    for name, scored in (("gold", gold), ("proxy", proxy)):
        for row, kl in enumerate(t[name].kl):
            np.testing.assert_allclose(t[name].limit[row], limit_at(scored, [kl]).gain[0], rtol=1e-9)
            carried = limit_at(proxy, [kl], evaluated=scored).gain[0]
            np.testing.assert_allclose(t[name].tilt_gain[row], carried, rtol=1e-9)


def test_a_share_that_is_one_in_every_world_has_the_width_of_what_is_left_unsaid() -> None:
    """Bernoulli: gain and limit move together, and the share's interval must use it: .004 wide, not .019."""
    r = (np.random.default_rng(13).random((300, 128)) < 0.2) * 1.0
    t = best_of_n(r, {"own": r}, ns=[2, 4])["own"]
    width = t.efficiency_high - t.efficiency_low
    assert np.all((width > 0.0005) & (width < 0.006))
    apart = (t.gain_high - t.gain_low) / t.gain
    assert np.all(apart > 5 * width)


def test_prompts_of_one_cluster_are_drawn_together_in_every_method() -> None:
    """16 templates, each 4 times: intervals are those of 16 prompts; of 8 templates there is no verdict."""
    rng = np.random.default_rng(3)
    few = np.exp(0.5 * rng.standard_normal((16, 1))) * rng.standard_normal((16, 64))
    r, template = np.repeat(few, 4, axis=0), np.repeat(np.arange(16), 4)
    methods = [
        lambda s, **k: best_of_n(s, {"own": s}, ns=[4], **k),
        lambda s, **k: soft_best_of_n(s, {"own": s}, ns=[4], temperatures=[0.5], **k),
        lambda s, **k: best_of_poisson(s, {"own": s}, mus=[3.0], **k),
        lambda s, **k: chi2_pessimism(s, {"own": s}, betas=[2.0], **k),
    ]
    for method in methods:
        one, whole, naive = method(few)["own"], method(r, clusters=template)["own"], method(r)["own"]
        np.testing.assert_allclose(whole.gain, naive.gain)
        wide, alone, narrow = (t.gain_high - t.gain_low for t in (whole, one, naive))
        np.testing.assert_allclose(wide, alone, rtol=0.25)
        assert wide[0] > 1.6 * narrow[0]
    half = best_of_n(r[:32], {"own": r[:32]}, ns=[4], clusters=template[:32])["own"]
    assert "8 clusters of prompts" in half.gain_reason[0]


def test_permuting_prompts_with_their_keys_and_clusters_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    r, v = np.round(rng.standard_normal((40, 32)), 1), rng.standard_normal((40, 32))
    r[3, 20:] = v[3, 20:] = r[9, 2:] = v[9, 2:] = np.nan
    keys, template, turned = np.arange(40) * 7 + 3, np.arange(40) // 2, rng.permutation(40)
    methods = [
        lambda s, o, **k: best_of_n(s, o, ns=[2, 4], **k),
        lambda s, o, **k: soft_best_of_n(s, o, ns=[4], temperatures=[0.5], **k),
        lambda s, o, **k: best_of_poisson(s, o, mus=[1.0], **k),
        lambda s, o, **k: chi2_pessimism(s, o, betas=[2.0], **k),
    ]
    for method in methods:
        one = method(r, {"v": v}, keys=keys, clusters=template, replicates=200)["v"]
        two = method(r[turned], {"v": v[turned]}, keys=keys[turned], clusters=template[turned], replicates=200)["v"]
        for name, column in one.columns().items():
            if column.dtype == np.float64:
                np.testing.assert_allclose(two.columns()[name], column, rtol=1e-9, atol=1e-12, err_msg=name)
            else:
                np.testing.assert_array_equal(two.columns()[name], column)


def test_a_lone_tie_among_thousands_of_replies_makes_nothing_unreliable() -> None:
    """It moves the KL in the fifth digit, whatever its interval is worth; forty equal replies of one do not pass."""
    r = np.random.default_rng(3).standard_normal((64, 64))
    r[5, :2] = r[5, :2].mean()
    lone = best_of_n(r, {"own": r}, ns=[2, 4], budget="per-prompt", replicates=200)["own"]
    assert lone.kl_reliable.all()
    assert lone.limit_reliable.all()
    assert lone.efficiency_reliable.all()
    assert (lone.kl_low < lone.kl_high).all()
    np.testing.assert_allclose(lone.kl, lone.kl_bound, rtol=1e-3)
    r[5, np.argsort(r[5])[-40:]] = 1.0
    many = best_of_n(r, {"own": r}, ns=[2, 4], budget="per-prompt", replicates=200)["own"]
    assert not many.kl_reliable.any()
    assert all("1.0 prompts with ties carry the spread of the KL" in reason for reason in many.kl_reason)


@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
def test_how_many_prompts_carry_a_mean_is_counted_by_the_kurtosis_of_their_parts(scale: float) -> None:
    """(9 + 3)^2 / (81 + 3) of 3, -1, -1, -1; all of four alike; none of a constant."""
    parts = scale * np.array([[3.0, 1.0, 2.0], [-1.0, -1.0, 2.0], [-1.0, 1.0, 2.0], [-1.0, -1.0, 2.0]])
    np.testing.assert_allclose(behind(parts, PromptBootstrap(4)), [144 / 84, 4.0, np.inf])


def test_a_correction_of_three_quarters_of_the_intervals_width_is_too_much() -> None:
    scores = np.random.default_rng(0).standard_normal((64, 256))
    values = scores[:, :1]
    width = np.array([0.4])
    for left, said in ((0.29, ""), (0.31, "the correction of the gain is too uncertain for so narrow an interval")):
        mean = Mean("gain", values, np.full((64, 1), left), width)
        reason = judge_means(mean, scores, np.array([2.0]), np.array([False]), PromptBootstrap(64), own=True)
        assert reason.tolist() == [said]

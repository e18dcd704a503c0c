"""Rules that spend draws: all orders listed, worlds with known answers, honest where a rule is learned, coverage."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest
import scipy

from alignment_limits.errors import EstimateError
from alignment_limits.limits.worlds import MIXTURES, Gaussian
from alignment_limits.report.figures.costs import cost
from alignment_limits.report.figures.style import Look
from alignment_limits.tables.estimates import estimate
from alignment_limits.tables.tradeoffs import COST
from alignment_limits.tradeoffs.cost import reward_for_cost
from alignment_limits.tradeoffs.rules import Judge, Part, draws_at, gains_of_draws, reservation_values
from alignment_limits.tradeoffs.shortfall import shortfall


def by_listing(r, v, lengths, threshold, most):
    """Mean gain, draws and tokens over all orders of one prompt's samples."""
    every = []
    for order in permutations(range(len(r))):
        drawn = next((order[: j + 1] for j in range(most) if r[order[j]] >= threshold), order[:most])
        best = [i for i in drawn if r[i] == max(r[list(drawn)])]
        every.append((v[best].mean(), len(drawn), lengths[list(drawn)].sum()))
    gain, draws, tokens = np.mean(every, axis=0)
    return gain - v.mean(), draws, tokens


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("ties", [False, True])
def test_a_stopping_rule_is_the_mean_over_all_orders(most, ties):
    rng = np.random.default_rng(0)
    r, v, lengths = rng.normal(size=(2, 5)), rng.normal(size=(2, 5)), rng.integers(1, 9, (2, 5)).astype(float)
    r = np.round(r) if ties else r
    r[1, 4] = v[1, 4] = lengths[1, 4] = np.nan  # another number of samples
    thresholds = np.array([[-9.0, -0.5, 0.0, 0.5, 9.0]] * 2)
    if most > 4:
        r, v, lengths, thresholds = r[:1], v[:1], lengths[:1], thresholds[:1]
    spent = Judge(Part(r, v, lengths), most).stopping(thresholds)
    for x in range(len(r)):
        some = ~np.isnan(r[x])
        for c, threshold in enumerate(thresholds[x]):
            listed = by_listing(r[x, some], v[x, some], lengths[x, some], threshold, most)
            assert (spent.gain[x, c], spent.draws[x, c], spent.tokens[x, c]) == pytest.approx(listed, abs=1e-9)


def test_draws_are_bought_while_they_gain_more_than_their_price():
    scores = np.random.default_rng(0).normal(size=(5, 12))
    curve = gains_of_draws(scores, 6)
    for price in (0.01, 0.1, 0.3):
        chosen = draws_at(scores, np.full((5, 1), price), 6)[:, 0]
        net = curve - price * np.arange(1, 7)
        np.testing.assert_array_equal(chosen, 1 + net.argmax(axis=1))
    assert (draws_at(scores, np.zeros((5, 1)), 6) == 6).all()


def test_reservation_values_solve_their_equation():
    scores = np.random.default_rng(0).normal(size=(4, 9))
    scores[0, 5:] = np.nan
    prices = np.full((4, 6), [1e-3, 0.05, 0.2, 0.5, 1.0, 3.0])
    z = reservation_values(scores, prices)
    excess = np.nanmean(np.maximum(scores[:, None] - z[:, :, None], 0.0), axis=2)
    np.testing.assert_allclose(excess, prices, atol=1e-12)


def test_no_rule_is_better_than_stopping_at_the_reservation_value_of_a_known_law():
    """Uniform rewards, price c: z = 1 - sqrt(2 c); a draw stops with probability 1 - z."""
    r = np.random.default_rng(0).random((400, 200))
    z = 1 - np.sqrt(2 * 0.02)
    spent = Judge(Part(r, r, np.ones_like(r)), 60).stopping(np.full((400, 1), z))
    p = 1 - z
    assert spent.draws.mean() == pytest.approx((1 - z**60) / p, rel=0.01)
    assert spent.gain.mean() + 0.5 == pytest.approx(1 - p / 2, abs=0.002)


def known_rules(n, most=16, log_sd=0.6):
    """Gains of the best n(x) and of the best stopping rule for Gaussian rewards with known lognormal spreads."""
    sd = np.exp(log_sd * scipy.stats.norm.ppf((np.arange(300) + 0.5) / 300))[:, None]
    best = np.array([Gaussian().best_of_n(k)[1] for k in range(1, most + 1)])
    c = np.geomspace(3.0, 1e-3, 200)
    draws = 1 + (sd[..., None] * np.diff(best) > c[:, None]).sum(axis=2)
    each = np.interp(n, draws.mean(axis=0), (sd * best[draws - 1]).mean(axis=0))
    at = np.linspace(-8, 8, 2001)
    cdf, density = scipy.stats.norm.cdf(at), scipy.stats.norm.pdf(at)
    z = np.interp(-c / sd, -(density - at * (1 - cdf)), at)
    stop = np.maximum(1 - scipy.stats.norm.cdf(z), 1e-12)
    missed = np.concatenate([[0], np.cumsum((at[1:] + at[:-1]) / 2 * np.diff(cdf**most))])
    gain = sd * ((1 - (1 - stop) ** most) * scipy.stats.norm.pdf(z) / stop + np.interp(z, at, missed))
    return each, np.interp(n, ((1 - (1 - stop) ** most) / stop).mean(axis=0), gain.mean(axis=0))


def test_learned_rules_gain_nearly_what_known_laws_allow_and_never_more():
    rng = np.random.default_rng(0)
    sd = np.exp(0.6 * scipy.stats.norm.ppf((np.arange(2000) + 0.5) / 2000))[:, None]
    scores = sd * rng.normal(size=(2000, 192))
    table = reward_for_cost(scores, ns=[4], most=16, replicates=200)
    gain = dict(zip(table.method, table.gain, strict=True))
    each, stopping = known_rules(4)
    assert gain["best-of-n"] < gain["n-per-prompt"] < gain["stopping"]
    assert 0.97 * each < gain["n-per-prompt"] < 1.005 * each
    assert 0.97 * stopping < gain["stopping"] < 1.005 * stopping


def test_a_rule_judged_by_the_samples_it_is_learned_from_flatters_itself():
    """All prompts have one law, so no n(x) is better than one n; judged in sample it looks better."""
    scores = np.random.default_rng(1).exponential(size=(500, 16))
    table = reward_for_cost(scores, ns=[4], replicates=200)
    extra = table.extra[table.method == "n-per-prompt"]
    prices = np.full((500, 60), np.geomspace(1.0, 1e-3, 60))
    draws = draws_at(scores, prices, 8)
    fitted = Judge(Part(scores, scores, np.ones_like(scores)), 8).fixed(draws)
    flattered = np.interp(4, draws.mean(axis=0), fitted.gain.mean(axis=0)) - table.gain[0]
    assert extra < 0 < 0.02 < flattered


def test_cost_is_the_same_in_tokens_if_there_are_lengths():
    rng = np.random.default_rng(0)
    scores, lengths = rng.normal(size=(300, 32)), rng.integers(1, 20, (300, 1)) * np.ones((1, 32))
    table = reward_for_cost(scores, ns=[2, 4], lengths=lengths, replicates=200)
    for n in (2, 4):
        np.testing.assert_allclose(table.tokens[table.n == n], n * lengths.mean(), rtol=1e-9)
    # Short replies are cheap, so the rules draw more of them.
    assert (table.draws[table.method != "best-of-n"] > table.n[table.method != "best-of-n"]).all()
    free = reward_for_cost(scores, ns=[2, 4], replicates=200)
    assert np.isnan(free.tokens).all()
    np.testing.assert_allclose(free.draws, free.n)


def test_ends_of_the_range_are_best_of_n():
    scores = np.random.default_rng(0).normal(size=(40, 16))
    table = reward_for_cost(scores, ns=[1, 8], replicates=200)
    np.testing.assert_allclose(table.extra, 0.0, atol=1e-12)
    np.testing.assert_allclose(table.same_as, table.n, rtol=1e-9)


@pytest.mark.parametrize("make", [lambda r: r.random((40, 16)) < 0.3, lambda r: np.zeros((40, 16))])
def test_pass_rates_and_constant_rewards_have_rows(make):
    table = reward_for_cost(make(np.random.default_rng(0)).astype(float), ns=[2, 4], replicates=200)
    assert np.isfinite(table.gain).all()


def test_prompts_with_few_samples_are_left_out_and_said():
    scores = np.random.default_rng(0).normal(size=(40, 32))
    scores[0, 3:] = np.nan
    table = reward_for_cost(scores, ns=[2], replicates=200)
    assert set(table.prompts.tolist()) == {39}
    assert table.reliable.all()
    scores[:20, 8:] = np.nan
    table = reward_for_cost(scores, ns=[2], most=16, replicates=200)
    assert "only 20 of 40 prompts have 32 samples" in table.reason[0]


def test_what_cannot_be_used_is_named():
    scores = np.random.default_rng(0).normal(size=(20, 16))
    with pytest.raises(EstimateError, match="half of the samples"):
        reward_for_cost(scores, ns=[16])
    with pytest.raises(EstimateError, match="Lengths"):
        reward_for_cost(scores, ns=[2], lengths=-np.ones_like(scores))
    with pytest.raises(EstimateError, match="at least 2"):
        reward_for_cost(scores[:, :2], ns=[1])


def test_intervals_cover_what_rules_gain():
    """Gaussian rewards of different spreads, 64 prompts x 64 samples; the truth is the mean of many studies."""
    world, ns = MIXTURES["spread0.3"], [4]
    many = reward_for_cost(world.draw(np.random.default_rng(10**6), 3000, 64), ns=ns, replicates=100)
    gain, extra = many.gain, many.extra
    inside = []
    for study in range(20):
        t = reward_for_cost(world.draw(np.random.default_rng(study), 64, 64), ns=ns, replicates=300)
        inside.append([(t.gain_low <= gain) & (gain <= t.gain_high), (t.extra_low <= extra) & (extra <= t.extra_high)])
    assert np.mean(inside, axis=0).min() >= 0.8


def test_the_best_n_for_each_prompt_is_refused_where_one_high_sample_decides_it():
    """Exponential rewards: one prompt in a hundred draws up to `most` times, and 64 prompts may show none."""
    rng = np.random.default_rng(0)
    heavy = reward_for_cost(rng.exponential(size=(64, 64)), ns=[1, 4], replicates=100)
    by_rule = dict(zip(zip(heavy.method, heavy.n, strict=True), heavy.reason, strict=True))
    assert by_rule.pop(("n-per-prompt", 4)).startswith("heavy upper tail")
    assert set(by_rule.values()) == {""}, "other rules and a single draw do not depend on it"
    assert reward_for_cost(rng.normal(size=(64, 64)), ns=[4], replicates=100).reliable.all()


def test_the_parts_of_a_shortfall_add_up_and_are_the_known_ones():
    world = MIXTURES["spread0.3"]
    table = shortfall(world.draw(np.random.default_rng(0), 800, 64), ns=[1, 2, 4], replicates=200)
    np.testing.assert_allclose(table.not_tilt + table.same_n, table.limit - table.gain, atol=1e-12)
    for j, n in enumerate((2, 4), start=1):
        kl, gain = world.best_of_n(n)
        assert table.not_tilt[j] == pytest.approx(world.limit_per_prompt(kl) - gain, abs=0.02)
        assert table.same_n[j] == pytest.approx(world.limit(kl) - world.limit_per_prompt(kl), abs=0.02)
    assert table.not_tilt[0] == table.same_n[0] == 0


def test_best_of_n_of_pass_rates_is_the_tilt():
    scores = (np.random.default_rng(0).random((400, 64)) < 0.3).astype(float)
    table = shortfall(scores, ns=[2, 4], replicates=200)
    assert np.abs(table.not_tilt).max() < 0.005
    assert not table.reliable.any()
    assert "two values" in table.reason[0]


def test_a_study_with_few_samples_has_an_empty_table_and_a_figure_that_says_so():
    keys = {"prompt_id": np.repeat([f"p{i:02d}" for i in range(20)], 3), "sample_id": np.tile(np.arange(3), 20)}
    table = pl.DataFrame({**keys, "gold": np.random.default_rng(0).normal(size=60)}).cast({"sample_id": pl.Int32})
    settings = {"gold": "gold", "optimized": ["gold"], "best_of": [1, 2, 64], "bootstrap": 200, "seed": 0, "most": None}
    found = estimate("cost", table, settings, columns=table.select("prompt_id", "sample_id"))
    assert found.height == 0
    assert "Too few samples" in cost(found, Look(gold="gold")).axes[0].texts[0].get_text()


def test_a_studys_table_has_the_shortfall_beside_best_of_n():
    keys = {"prompt_id": np.repeat([f"p{i:02d}" for i in range(20)], 32), "sample_id": np.tile(np.arange(32), 20)}
    rng = np.random.default_rng(0)
    table = pl.DataFrame({**keys, "gold": rng.normal(size=640), "rm": rng.normal(size=640)}).cast(
        {"sample_id": pl.Int32}
    )
    columns = table.select("prompt_id", "sample_id", tokens=pl.lit(10.0))
    settings = {"gold": "gold", "optimized": ["gold", "rm"], "best_of": [1, 2, 64], "bootstrap": 200, "seed": 0}
    found = estimate("cost", table, settings | {"most": None}, columns=columns)
    assert found.columns == list(COST.columns)
    own = found.filter(pl.col("not_tilt").is_not_null())
    assert own.select("optimized", "evaluated", "method", "n").rows() == [
        (name, name, "best-of-n", n) for name in ("gold", "rm") for n in (1, 2)
    ]
    assert found.filter(n=2)["tokens"].to_list() == pytest.approx([20.0] * 9)
    assert len(cost(found, Look(gold="gold")).axes) == 2

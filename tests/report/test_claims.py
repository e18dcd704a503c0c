"""Every verdict can come out each way, and only when intervals allow it."""

import polars as pl
import pytest
import synthetic

from alignment_limits.report.claims.limits import (
    FAILS,
    HOLDS,
    PARTLY,
    UNKNOWN,
    claims,
    ensembles_shrink,
    grows_with_error,
    grows_with_inverse_beta,
    identity,
    judge,
    loss_by_beta,
    near_the_limit,
)

PROXIES = list(synthetic.RHO)


def agreement(rho=None, half=0.02):
    rho = synthetic.RHO if rho is None else rho
    return pl.DataFrame(
        [{"reward": n, "spearman": r, "low": r - half, "high": r + half, "prompts": 24} for n, r in rho.items()]
    )


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        ((3, 0, 3), HOLDS),
        ((1, 0, 3), PARTLY),
        ((1, 2, 3), PARTLY),
        ((0, 1, 3), FAILS),
        ((0, 0, 3), UNKNOWN),
        ((0, 0, 0), UNKNOWN),
    ],
)
def test_judge(case, verdict):
    assert judge(*case) == verdict


def bumped(by):
    own = (pl.col("at") == "beta") & (pl.col("optimized") == "minilm") & (pl.col("evaluated") == "minilm")
    return synthetic.frontier().with_columns(
        gain=pl.when(own).then(pl.col("gain") * (1 + by)).otherwise(pl.col("gain"))
    )


@pytest.mark.parametrize(("by", "verdict"), [(0, HOLDS), (1e-12, HOLDS), (1e-5, PARTLY), (0.01, FAILS)])
def test_identity(by, verdict):
    assert identity(bumped(by)).verdict == verdict


def test_identity_needs_tilts():
    assert identity(synthetic.frontier().filter(pl.col("at") == "kl")).verdict == UNKNOWN


@pytest.mark.parametrize(
    ("share", "half", "spread", "verdict"),
    [
        (0.95, 0.02, 1.0, HOLDS),
        (0.70, 0.02, 1.0, FAILS),
        (0.85, 0.05, 1.0, UNKNOWN),  # the interval straddles the threshold
        (0.70, 0.02, 0.75, PARTLY),  # near the per-prompt limit only
        (0.82, 0.02, 0.96, UNKNOWN),  # below on average, undecided per prompt
    ],
)
def test_best_of_n_near_the_limit(share, half, spread, verdict):
    table = synthetic.best_of_n(share=share, half=half, spread=spread)
    assert near_the_limit(table, "gold").verdict == verdict


def test_best_of_n_near_at_some_n_only():
    table = synthetic.best_of_n(share=0.95, half=0.02)
    worse = pl.when(pl.col("n") == 8).then(0.7).otherwise(1.0)
    table = table.with_columns(pl.col("efficiency", "efficiency_low", "efficiency_high") * worse)
    assert near_the_limit(table, "gold").verdict == PARTLY


def test_best_of_n_ignores_unreliable_rows():
    table = synthetic.best_of_n(share=0.5).with_columns(efficiency_reliable=pl.lit(False))
    verdict = near_the_limit(table, "gold")
    assert verdict.verdict == UNKNOWN
    assert "No n has a reliable share" in verdict.sentence


@pytest.mark.parametrize(("lost", "kept"), [("average", "per-prompt"), ("per-prompt", "average")])
def test_a_claim_that_holds_for_one_budget_says_that_the_other_could_not_be_decided(lost, kept):
    """The other has no reliable share; of the one that has, the n that is neither near nor far is named."""
    table = synthetic.best_of_n(share=0.95, half=0.02, spread=1.0).with_columns(
        efficiency_reliable=pl.col("efficiency_reliable") & (pl.col("budget") == kept),
        efficiency_low=pl.when(pl.col("n") == 4).then(0.8).otherwise("efficiency_low"),
    )
    verdict = near_the_limit(table, "gold")
    assert verdict.verdict == PARTLY
    assert f"could not be decided for the {lost} budget" in verdict.sentence
    assert f"No n has a reliable share of the limit of the {lost} budget." in verdict.sentence
    assert "near or far could not be decided at n = 4." in verdict.sentence
    decided = near_the_limit(synthetic.best_of_n(share=0.7, half=0.02, spread=0.75), "gold")
    assert decided.verdict == PARTLY
    assert "could not be decided" not in decided.sentence


def test_loss_grows_with_error():
    assert grows_with_error(synthetic.frontier(half=0.02), agreement(), "gold", PROXIES).verdict == HOLDS


def test_loss_that_falls_with_error():
    backwards = dict(zip(synthetic.RHO, reversed(synthetic.RHO.values()), strict=True))
    assert grows_with_error(synthetic.frontier(half=0.02), agreement(backwards), "gold", PROXIES).verdict == FAILS


def test_loss_that_grows_with_error_in_most_pairs():
    mixed = {**synthetic.RHO, "vader": 0.55}  # worse than alt-profanity only, yet it loses most
    assert grows_with_error(synthetic.frontier(half=0.02), agreement(mixed), "gold", PROXIES).verdict == PARTLY


@pytest.mark.parametrize("wide", [{"half": 0.5}, {"reach": 0.01}])
def test_error_cannot_be_told_from_noise(wide):
    assert grows_with_error(synthetic.frontier(**wide), agreement(), "gold", PROXIES).verdict == UNKNOWN


def test_two_proxies_make_no_trend():
    two = PROXIES[:2]
    assert grows_with_error(synthetic.frontier(half=0.02), agreement(), "gold", two).verdict == UNKNOWN


def test_loss_grows_as_beta_falls():
    assert grows_with_inverse_beta(synthetic.frontier(half=0.01), "gold", PROXIES[1:]).verdict == HOLDS


def test_loss_grows_surely_for_some():
    assert grows_with_inverse_beta(synthetic.frontier(half=0.06), "gold", PROXIES).verdict == PARTLY


def test_loss_that_falls_as_beta_falls():
    table = synthetic.frontier(half=0.001)
    proxy = (pl.col("evaluated") == "gold") & (pl.col("optimized") != "gold") & (pl.col("at") == "beta")
    gains = [pl.when(proxy).then(1.2 / pl.col("beta")).otherwise(pl.col(c)).alias(c) for c in _columns("gain")]
    assert grows_with_inverse_beta(table.with_columns(gains), "gold", PROXIES).verdict == FAILS


def _columns(name):
    return [name, f"{name}_low", f"{name}_high"]


def test_beta_cannot_be_told_from_noise():
    assert grows_with_inverse_beta(synthetic.frontier(half=0.5), "gold", PROXIES).verdict == UNKNOWN
    assert grows_with_inverse_beta(synthetic.frontier(), "gold", []).verdict == UNKNOWN


def test_ensembles_shrink_the_loss():
    verdict = ensembles_shrink(synthetic.frontier(half=0.02), "gold", synthetic.MEMBERS)
    assert verdict.verdict == HOLDS
    assert "0 significantly beat the best member" in verdict.sentence


def test_some_ensembles_shrink_the_loss():
    members = {"mean-of-all": PROXIES, "minimum-of-all": ["toxic-comment-classifier", "alt-profanity"]}
    assert ensembles_shrink(synthetic.frontier(half=0.02), "gold", members).verdict == PARTLY


def test_ensembles_worse_than_their_members():
    members = {name: ["toxic-comment-classifier"] * 2 for name in synthetic.ENSEMBLES}
    assert ensembles_shrink(synthetic.frontier(half=0.02), "gold", members).verdict == FAILS


@pytest.mark.parametrize("members", [{}, synthetic.MEMBERS])
def test_ensembles_cannot_be_told(members):
    assert ensembles_shrink(synthetic.frontier(half=0.6), "gold", members).verdict == UNKNOWN


def test_all_claims_say_their_rule_and_numbers():
    table = synthetic.frontier(reach=0)
    for frontier in (synthetic.frontier(), table):
        found = claims(
            frontier,
            synthetic.best_of_n(),
            agreement(),
            gold="gold",
            proxies=PROXIES,
            members=synthetic.MEMBERS,
        )
        assert len(found) == 5
        for verdict in found:
            assert verdict.rule
            assert verdict.sentence
            assert verdict.verdict in (HOLDS, PARTLY, FAILS, UNKNOWN)


def at_one(**gains):
    """Gold's gain at KL 1 under each name, as (value, low, high)."""
    own = {"gold": (1.5, 1.4, 1.6)} | gains
    rest = {"evaluated": "gold", "budget": "average", "at": "kl", "kl": 1.0, "reliable": True, "reason": ""}
    return pl.DataFrame(
        [{"optimized": n, "gain": v, "gain_low": low, "gain_high": high, **rest} for n, (v, low, high) in own.items()]
    )


def test_an_ensemble_beats_its_best_member_only_beyond_both_intervals():
    members = {"a": (0.95, 0.85, 1.05), "b": (0.6, 0.55, 0.65)}
    found = {}
    for name, gain in {"close": (1.0, 0.9, 1.1), "far": (1.2, 1.1, 1.3)}.items():
        found[name] = ensembles_shrink(at_one(e=gain, **members), "gold", {"e": ["a", "b"]})
    assert [v.verdict for v in found.values()] == [HOLDS, HOLDS]
    assert "0 significantly beat the best member" in found["close"].sentence
    assert "1 significantly beats the best member" in found["far"].sentence


@pytest.mark.parametrize("gain", [(1.0, 0.8, 1.2), (0.5, 0.3, 0.72)])
def test_an_ensemble_whose_interval_meets_its_members_is_neither_better_nor_worse(gain):
    """The members' mean is 0.775 [0.70, 0.85]: one end of the interval passes the mean, not both."""
    table = at_one(e=gain, a=(0.95, 0.85, 1.05), b=(0.6, 0.55, 0.65))
    assert ensembles_shrink(table, "gold", {"e": ["a", "b"]}).verdict == UNKNOWN


@pytest.mark.parametrize("gain", [(1.0, 0.875, 1.25), (0.5, 0.25, 0.75)])
def test_intervals_that_touch_are_not_disjoint(gain):
    """The members' mean is 0.8125 [0.75, 0.875]."""
    table = at_one(e=gain, a=(1.0, 1.0, 1.0), b=(0.625, 0.5, 0.75))
    assert ensembles_shrink(table, "gold", {"e": ["a", "b"]}).verdict == UNKNOWN


def test_proxies_differ_only_where_their_intervals_are_disjoint():
    """Neighbours overlap, though each estimate is outside the other's interval."""
    rho = {"a": 0.9, "b": 0.7, "c": 0.5}
    table = at_one(a=(1.0, 0.85, 1.15), b=(0.8, 0.65, 0.95), c=(0.6, 0.45, 0.75))
    verdict = grows_with_error(table, agreement(rho), "gold", list(rho))
    assert verdict.verdict == UNKNOWN
    assert "1 of 3 pairs of proxies differs significantly both in error and in gold" in verdict.sentence


def test_the_identity_takes_both_directions_of_kl():
    table = synthetic.frontier().with_columns(kl_reverse=1.5 * pl.col("kl"))
    assert identity(table).verdict == FAILS
    table = table.with_columns(gain=pl.col("beta") * (pl.col("kl") + pl.col("kl_reverse")))
    assert identity(table).verdict == HOLDS


def test_losses_end_at_the_strongest_reliable_tilt():
    betas = [b for b, _ in loss_by_beta(synthetic.frontier(reach=0.6), "gold", "minilm")]
    assert betas == [8.0, 4.0, 2.0, 1.5, 1.0]


def test_the_identity_is_of_the_average_budget():
    """At one KL for every prompt there is no one β, and so no identity."""
    own = pl.col("budget") == "per-prompt"
    table = synthetic.frontier().with_columns(gain=pl.when(own).then(0.9 * pl.col("gain")).otherwise("gain"))
    assert identity(table).verdict == HOLDS

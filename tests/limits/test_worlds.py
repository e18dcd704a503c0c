"""Closed-form worlds against quadrature and the values of docs/theory.md; Gao fits; ensemble studies."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import WORLDS, aggregate, gao_fit, limit_at, proxy_gap, study_ensembles, sub_gaussian_bound
from alignment_limits.limits.ensembles import member_errors
from alignment_limits.limits.worlds import Bernoulli, World, efficiency, heterogeneous_loss

NS = (2, 4, 16, 64, 256)
KNOWN = {
    "gaussian": [0.908, 0.913, 0.922, 0.930, 0.937],
    "uniform": [0.948, 0.987, 0.9998, 1, 1],
    "exponential": [0.661, 0.683, 0.723, 0.755, 0.780],
    "bernoulli": [1, 1, 1, 1, 1],
}


@pytest.mark.parametrize("name", WORLDS)
def test_efficiency_of_best_of_n_equals_the_known_table(name: str) -> None:
    np.testing.assert_allclose([efficiency(WORLDS[name], n) for n in NS], KNOWN[name], atol=6e-4)


@pytest.mark.parametrize("name", WORLDS)
def test_tilt_equals_a_sum_over_fine_quantiles(name: str) -> None:
    u = (np.arange(1_000_000) + 0.5) / 1_000_000
    if name == "gaussian":
        z = np.linspace(-12, 12, 1_000_001)
        reward, base = z, np.exp(-(z**2) / 2)
    elif name == "exponential":
        reward = np.linspace(0, 120, 1_000_001)
        base = np.exp(-reward)
    else:
        reward = {"uniform": u, "bernoulli": (u < 0.1) * 1.0}[name]
        base = np.ones_like(u)
    for inverse in (0.2, 0.7):
        w = base * np.exp(inverse * reward)
        w, p = w / w.sum(), base / base.sum()
        expected = np.sum(np.where(w > 0, w * np.log(np.where(p > 0, w / p, 1)), 0)), np.sum((w - p) * reward)
        np.testing.assert_allclose(WORLDS[name].tilted(inverse), expected, rtol=5e-3)


@pytest.mark.parametrize("name", WORLDS)
def test_limit_inverts_the_tilt_and_rises_with_slope_beta(name: str) -> None:
    world: World = WORLDS[name]
    kappa = 0.4
    inverse = world.inverse_at(kappa)
    np.testing.assert_allclose(world.tilted(inverse)[0], kappa, rtol=1e-9)
    slope = (world.limit(kappa + 1e-5) - world.limit(kappa - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, 1 / inverse, rtol=1e-4)


def test_bernoulli_saturates_at_its_ceiling() -> None:
    world = Bernoulli(p=0.25)
    assert world.limit(np.log(4) + 0.1) == 0.75
    assert world.limit(np.log(4) - 1e-6) < 0.75
    assert world.limit(0.0) == 0.0
    with pytest.raises(EstimateError, match="negative"):
        world.limit(-1.0)


def test_heterogeneous_spread_costs_the_known_share() -> None:
    np.testing.assert_allclose([heterogeneous_loss(s) for s in (0.3, 0.6, 1.0)], [0.956, 0.835, 0.607], atol=5e-4)


def test_sub_gaussian_bound_is_the_gaussian_limit() -> None:
    r = 3 * np.random.default_rng(0).standard_normal((500, 100)) + np.arange(500)[:, None]
    np.testing.assert_allclose(sub_gaussian_bound(r, [0.5, 2.0]), [3.0, 6.0], rtol=0.01)


@pytest.mark.parametrize("form", ["best-of-n", "policy"])
def test_gao_fit_recovers_its_own_curve_within_its_interval(form: str) -> None:
    rng = np.random.default_rng(1)
    kl = np.linspace(0.1, 8, 15)
    d = np.sqrt(kl)
    truth = d * (1.5 - 0.4 * (d if form == "best-of-n" else np.log(d)))
    gains = truth + 0.3 * rng.standard_normal((200, 1)) * d + 0.1 * rng.standard_normal((200, 15))
    fit = gao_fit(kl, gains, form=form)
    assert fit.alpha_low <= 1.5 <= fit.alpha_high
    assert fit.beta_low <= 0.4 <= fit.beta_high
    exact = gao_fit(kl, np.repeat(truth[None], 5, axis=0), form=form)
    np.testing.assert_allclose([exact.alpha, exact.beta, exact.residual], [1.5, 0.4, 0.0], atol=1e-10)
    np.testing.assert_allclose(exact.curve(kl), truth, rtol=1e-10)
    grid = np.linspace(0.01, 400, 400_000)
    np.testing.assert_allclose(exact.peak_kl, grid[np.argmax(exact.curve(grid))], rtol=0.01)


def test_gao_fit_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(EstimateError, match="at least 3"):
        gao_fit([1.0, 2.0], np.ones((4, 2)))
    with pytest.raises(EstimateError, match="positive KLs"):
        gao_fit([0.0, 1.0, 2.0], np.ones((4, 3)))
    with pytest.raises(EstimateError, match="Unknown form"):
        gao_fit([0.5, 1.0, 2.0], np.ones((4, 3)), form="rl")


def correlated_members(count: int, rho: float, sd: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    gold = rng.standard_normal((100, 128))
    shared = rng.standard_normal(gold.shape)
    own = rng.standard_normal((count, *gold.shape))
    return gold + sd * (np.sqrt(rho) * shared + np.sqrt(1 - rho) * own), gold


def test_member_errors_recover_variance_and_correlation() -> None:
    errors = member_errors(*correlated_members(4, 0.5))
    np.testing.assert_allclose(errors.variance, 0.25, rtol=0.03)
    assert errors.correlation_low <= 0.5 <= errors.correlation_high
    single = member_errors(*correlated_members(1, 0.5))
    assert np.isnan(single.correlation)
    _, gold = correlated_members(2, 0.5)
    exact = member_errors(np.stack([gold, gold]), gold)
    assert exact.variance == 0
    assert np.isnan([exact.correlation, exact.correlation_low, exact.correlation_high]).all()


def test_observed_gap_of_the_mean_falls_to_the_predicted_floor() -> None:
    members, gold = correlated_members(4, 0.5)
    table = study_ensembles(members, gold, betas=[2.0, 1.0], at_kl=0.5, aggregators=("mean",), most_subsets=2)
    np.testing.assert_allclose(table.gap, table.gap_predicted, rtol=0.12)
    np.testing.assert_allclose(table.gap_floor, 0.25 * 0.5 / (2 * table.beta), rtol=0.05)
    for beta in (1.0, 2.0):
        by_size = [table.gap[(table.k == k) & (table.beta == beta)].mean() for k in (1, 2, 3, 4)]
        assert np.all(np.diff(by_size) < 0)
        expected = 0.25 * (0.5 + 0.5 / np.array([1, 2, 3, 4])) / (2 * beta)
        np.testing.assert_allclose(by_size, expected, rtol=0.12)
    gold_at = [table.gold_gain_at_kl[table.k == k].mean() for k in (1, 4)]
    assert gold_at[1] > gold_at[0]


@pytest.mark.parametrize("prompts", [8, 100])
def test_an_ensembles_row_has_the_verdicts_of_its_own_gap_and_of_gold_at_the_fixed_kl(prompts: int) -> None:
    members, gold = correlated_members(3, 0.5)
    members, gold = members[:, :prompts, :64], gold[:prompts, :64]
    names, betas, aggregators = ["a", "b", "c"], [4.0, 0.1], ("mean", "minimum")
    seen = set()
    for at_kl in (0.5, 3.0):
        table = study_ensembles(members, gold, betas=betas, at_kl=at_kl, names=names, aggregators=aggregators)
        for i, (aggregator, subset) in enumerate(zip(table.aggregator, table.members, strict=True)):
            reward = aggregate(members[[names.index(n) for n in subset.split("+")]], aggregator)
            alone = proxy_gap(reward, gold, betas=betas, replicates=1000)
            j = betas.index(table.beta[i])
            assert (table.reliable[i], table.reason[i]) == (alone.reliable[j], alone.reason[j])
            at = limit_at(reward, [at_kl], evaluated=gold, replicates=1000)
            assert table.gold_gain_at_kl[i] == pytest.approx(at.gain[0], nan_ok=True)
            assert (table.gold_gain_at_kl_reliable[i], table.gold_gain_at_kl_reason[i]) == (
                at.reliable[0],
                at.reason[0],
            )
            seen.add((bool(table.reliable[i]), bool(table.gold_gain_at_kl_reliable[i])))
    assert seen == ({(False, False)} if prompts < 16 else {(g, k) for g in (True, False) for k in (True, False)})


def test_every_size_has_its_subsets_and_names() -> None:
    members, gold = correlated_members(4, 0.2)
    members, gold = members[:, :20, :32], gold[:20, :32]
    names = ["a", "b", "c", "d"]
    table = study_ensembles(
        members, gold, betas=[1.0, 2.0], at_kl=0.3, names=names, aggregators=("minimum", "median"), most_subsets=3
    )
    sizes, counts = np.unique(table.k, return_counts=True)
    assert dict(zip(sizes.tolist(), counts.tolist(), strict=True)) == {1: 3 * 2, 2: 3 * 2 * 2, 3: 3 * 2 * 2, 4: 2 * 2}
    assert "a+b+c+d" in table.members
    assert set(table.aggregator[table.k == 1]) == {"mean"}
    again = study_ensembles(
        members, gold, betas=[1.0, 2.0], at_kl=0.3, names=names, aggregators=("minimum", "median"), most_subsets=3
    )
    np.testing.assert_array_equal(table.gap, again.gap)
    with pytest.raises(EstimateError, match="2 names for 4 members"):
        study_ensembles(members, gold, betas=[1.0], at_kl=0.3, names=["a", "b"])

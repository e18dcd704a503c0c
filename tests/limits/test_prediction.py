"""Best-of-n beyond the samples: closed forms of both families, worlds of known truth, verdicts."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits import WORLDS, best_of_n, predict_best_of_n
from alignment_limits.limits.prediction import FAMILIES, extrapolated, pareto, weibull
from alignment_limits.limits.worlds import MIXTURES, Bernoulli, World
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.estimates import BEST_OF_N, estimate
from alignment_limits.tables.grid import prompt_keys

N = np.array([2.0, 5.0, 64.0, 1024.0])


def drawn(world: World, seed: int = 0, prompts: int = 64, samples: int = 64) -> np.ndarray:
    return world.draw(np.random.default_rng((seed, 3)), prompts, samples)


def test_both_families_have_the_means_of_the_largest_of_n_draws() -> None:
    harmonic = np.array([np.sum(1 / np.arange(1, n + 1)) for n in N])
    squares = np.array([np.sum(1 / np.arange(1, n + 1) ** 2) for n in N])
    np.testing.assert_allclose(pareto(N, 0.0), harmonic, rtol=1e-9)  # exponential
    np.testing.assert_allclose(pareto(N, 1e-6), harmonic, rtol=1e-4)
    np.testing.assert_allclose(pareto(N, -1.0), N / (N + 1), rtol=1e-9)  # uniform
    np.testing.assert_allclose(weibull(N, 1.0), harmonic - 1, rtol=1e-6)  # exponential
    np.testing.assert_allclose(weibull(N, 2.0), (harmonic**2 + squares - 1) / 2, rtol=1e-5)  # its square
    np.testing.assert_allclose(weibull(N, 1e-6), weibull(N, 0.0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "off"), [("uniform", 0.03), ("gaussian", 0.04), ("exponential", 0.03)])
def test_the_prediction_is_near_the_exact_gain_and_the_truth_between_the_families(name: str, off: float) -> None:
    n = [128, 256, 1024]
    table = predict_best_of_n(drawn(WORLDS[name], prompts=4000), n, replicates=100)
    truth = np.array([WORLDS[name].best_of_n(each)[1] for each in n])
    np.testing.assert_allclose(table.gain, truth, rtol=off)
    assert (table.gain_low <= truth).all()
    assert (truth <= table.gain_high).all()
    if name == "uniform":
        np.testing.assert_allclose(table.pareto, truth, rtol=0.003)
    if name == "gaussian":
        np.testing.assert_allclose(table.weibull, truth, rtol=0.02)
        assert (table.pareto < truth).all()


@pytest.mark.parametrize("p", [0.1, 0.01])
def test_one_pass_rate_is_one_minus_its_failures(p: float) -> None:
    """Of 64 samples, no more than half show a success if p is 1 %; a tail would be extrapolated far above 1."""
    table = predict_best_of_n(drawn(Bernoulli(p=p), prompts=500), [128, 1024], replicates=100)
    truth = 1 - (1 - p) ** np.array([128, 1024]) - p
    np.testing.assert_allclose(table.gain, truth, rtol=0.03)
    assert table.reliable.all()


@pytest.mark.parametrize("name", ["passrates", "rubric1to10"])
def test_levels_follow_beta_laws(name: str) -> None:
    table = predict_best_of_n(drawn(MIXTURES[name], prompts=2000), [128, 1024], replicates=100)
    truth = np.array([MIXTURES[name].best_of_n(n)[1] for n in (128, 1024)])
    np.testing.assert_allclose(table.gain, truth, rtol=0.04)
    assert table.reliable.all()


@pytest.mark.parametrize("name", ["gaussian", "uniform", "passrates"])
def test_intervals_hold_the_exact_gain(name: str) -> None:
    world, n = (WORLDS | MIXTURES)[name], [128, 512]
    truth = np.array([world.best_of_n(each)[1] for each in n])
    tables = [predict_best_of_n(drawn(world, seed), n, replicates=200) for seed in range(30)]
    assert np.mean([(t.gain_low <= truth) & (truth <= t.gain_high) for t in tables]) >= 0.87


def test_contributions_carry_the_error_of_the_shape() -> None:
    n = np.array([256.0])
    studies = [extrapolated(drawn(WORLDS["gaussian"], seed), 64, n, FAMILIES[1]) for seed in range(120)]
    spread = np.std([each.mean() for each in studies])
    stated = np.mean([each.std() / np.sqrt(64) for each in studies])
    assert stated == pytest.approx(spread, rel=0.25)


def test_half_of_the_samples_predict_what_all_of_them_show() -> None:
    scores = drawn(MIXTURES["spread0.6"], prompts=200)
    table = predict_best_of_n(scores[:, :32], [64])
    seen = best_of_n(scores, ns=[64])
    assert table.gain_low[0] <= seen.gain[0] <= table.gain_high[0]


def test_what_cannot_be_predicted_says_why() -> None:
    gaussian = drawn(WORLDS["gaussian"])
    assert predict_best_of_n(gaussian, [1024, 1025], replicates=100).reliable.tolist() == [True, False]
    heavy = np.random.default_rng(0).standard_t(4, size=(64, 64))
    assert predict_best_of_n(heavy, [128], replicates=100).reason[0].startswith("heavy upper tail")
    assert predict_best_of_n(gaussian[:8], [128], replicates=100).reason[0] == "only 8 prompts (needs 16)"
    tied = np.concatenate([gaussian, gaussian], axis=1)
    assert predict_best_of_n(tied, [256], replicates=100).reason[0].startswith("ties for the best score")
    with pytest.raises(EstimateError, match="needs 32 samples of each prompt"):
        predict_best_of_n(gaussian[:, :20], [64])
    with pytest.raises(EstimateError, match="at least 1"):
        predict_best_of_n(gaussian, [0])


def test_units_offsets_and_the_order_of_samples_do_not_matter() -> None:
    scores = drawn(WORLDS["gaussian"])
    first = predict_best_of_n(scores, [256], replicates=100)
    other = predict_best_of_n(1e3 * scores[:, ::-1] + np.arange(64)[:, None], [256], replicates=100)
    for name in ("gain", "gain_low", "gain_high"):
        np.testing.assert_allclose(getattr(other, name), 1e3 * getattr(first, name), rtol=1e-6)
    assert first.kl[0] == pytest.approx(np.log(256) - 255 / 256)


def test_a_study_has_predictions_at_multiples_of_its_samples(tmp_path: Path) -> None:
    scores = drawn(WORLDS["gaussian"], prompts=64, samples=64)
    row, sample = np.indices(scores.shape)
    table = pl.DataFrame({"prompt_id": row.ravel().astype(str), "sample_id": sample.ravel(), "g": scores.ravel()})
    settings = {"gold": "g", "optimized": ["g"], "relatives_of": [], "best_of": [4], "bootstrap": 200, "seed": 0}
    made = estimate("best_of_n", table, settings | {"soft_temperatures": [], "pessimism_betas": []})
    rows = made.filter(pl.col("method") == "predicted-best-of-n")
    assert rows["n"].to_list() == [128, 256, 512, 1024]
    expected = predict_best_of_n(scores, rows["n"].to_numpy(), replicates=200, keys=prompt_keys(table))
    np.testing.assert_allclose(rows["gain"], expected.gain, atol=1e-9)
    assert rows["gain_reliable"].to_list() == expected.reliable.tolist()
    assert not rows["reliable"].any(), "there is no limit at this KL"
    write_table(made, tmp_path / "best_of_n.parquet", BEST_OF_N, {})
    few = estimate(
        "best_of_n", table.filter(pl.col("sample_id") < 31), settings | {"soft_temperatures": [], "pessimism_betas": []}
    )
    assert not few.filter(pl.col("method") == "predicted-best-of-n").height

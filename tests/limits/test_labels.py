"""Partial rewards: the samples that have them give the numbers of a smaller table, and a selection is noticed."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from alignment_limits.errors import ArtifactError, EstimateError, TableError
from alignment_limits.limits import common_samples, frontier, label_check
from alignment_limits.study.load import load_study
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.estimates import ESTIMATORS, estimate, settings_of
from alignment_limits.tables.labels import check_labels, partial_tables, read_partial_table
from alignment_limits.tables.standardised import standardised_tables, with_ensembles

PROMPTS, SAMPLES = 40, 48


def world(rng: np.random.Generator, prompts: int = PROMPTS, samples: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """A proxy, and gold that is correlated 0.7 with it."""
    proxy = rng.normal(size=(prompts, samples))
    return proxy, 0.7 * proxy + np.sqrt(0.51) * rng.normal(size=proxy.shape)


def tables(gold: np.ndarray, **rewards: np.ndarray) -> dict[str, pl.DataFrame]:
    """Score tables, with null where a score is NaN."""
    row, sample = np.indices(gold.shape)
    key = {"prompt_id": [f"p{i:03}" for i in row.ravel()], "sample_id": sample.ravel()}
    each = {"human": gold, **rewards}
    return {
        n: pl.DataFrame(key | {"score": v.ravel()}).with_columns(pl.col("score").fill_nan(None))
        for n, v in each.items()
    }


def study(**scores: Any):
    scores = {"table": "t.csv", "gold": "human", "proxies": ["rm", "other"], "partial": ["human"]} | scores
    limits = {"bootstrap": 200, "kls": [0.2, 0.5], "betas": [2], "best_of": [1, 2, 4], "ensemble_betas": [2]}
    return load_study({"study": "mine", "scores": scores, "limits": limits})


@pytest.fixture(scope="module")
def partial() -> pl.DataFrame:
    """Standardised rewards: a third of the samples has gold, but no sample of the first two prompts."""
    rng = np.random.default_rng(3)
    proxy, gold = world(rng)
    gold[rng.random(gold.shape) > 0.4] = np.nan
    gold[:2] = np.nan
    return partial_tables(tables(gold, rm=proxy, other=rng.normal(size=gold.shape)))[0]


def test_without_missing_scores_nothing_changes():
    proxy, gold = world(np.random.default_rng(0))
    scores = tables(gold, rm=proxy)
    for own, plain in zip(partial_tables(scores), standardised_tables(scores), strict=True):
        assert_frame_equal(own, plain, check_exact=True)


def test_rows_about_gold_are_those_of_the_labelled_samples_and_others_of_all(partial):
    mine, complete = study(), partial.drop_nulls("human")
    for name in ("frontier", "best_of_n"):
        p = settings_of(name, mine)
        made = estimate(name, partial, p)
        of_labelled, of_all = estimate(name, complete, p), estimate(name, partial.with_columns(human="rm"), p)
        for expected, rows in (
            (of_labelled, pl.col("evaluated") == "human"),
            (of_all, (pl.col("evaluated") != "human") & (pl.col("optimized") == pl.col("evaluated"))),
        ):
            assert_frame_equal(made.filter(rows), expected.filter(rows), check_row_order=False)
        assert made.select("optimized", "evaluated").unique().height == 5
    for name in ("proxy_gap", "over_optimisation", "ensemble_gaps"):
        p = settings_of(name, mine)
        assert_frame_equal(estimate(name, partial, p), estimate(name, complete, p))


def test_random_labels_pass_and_the_share_is_told(partial):
    found = check_labels(partial)
    assert found["random"].all()
    assert found["prompts"].unique().to_list() == [PROMPTS - 2]
    assert found["samples"][0] == partial["human"].count()
    assert list(ESTIMATORS["labels"].said(found, {})) == ["human: 38% of the samples have a score, in 38 prompts"]


@pytest.mark.parametrize(
    ("labelled", "quantity"),
    [
        (lambda r: r > 0, "mean"),
        (lambda r: np.abs(r) > 1, "spread"),
        (lambda r: (r.std(1) > np.median(r.std(1)))[:, None] & (np.ones_like(r) > 0), "prompts"),
    ],
)
def test_a_selection_is_found_and_nothing_about_gold_is_reliable(labelled, quantity):
    rng = np.random.default_rng(5)
    proxy, gold = world(rng, 200)
    scale = np.exp(0.5 * rng.normal(size=(200, 1)))
    proxy, gold = scale * proxy, scale * gold
    kept = np.where(labelled(proxy) & (rng.random(gold.shape) < 0.9), gold, np.nan)
    found = label_check(kept, {"rm": proxy})
    assert not found.random[found.quantity == quantity].item()
    assert f"by 'rm', {'labelled' if quantity == 'mean' else 'the variance'}" in found.why
    standardised = partial_tables(tables(kept, rm=proxy, other=rng.normal(size=gold.shape)))[0]
    made = estimate("frontier", standardised, settings_of("frontier", study()))
    human = made.filter(pl.col("evaluated") == "human")
    assert not human["reliable"].any()
    assert human["reason"].str.contains("labels are not at random").all()
    assert human["at_least"].is_nan().all()
    assert made.filter(pl.col("evaluated") == "rm")["reliable"].any()


def test_random_labels_are_rarely_refused_and_intervals_cover():
    """80 studies of 60 prompts, 64 samples, half of them labelled: the limit at 0.5 nats is 1 standard deviation."""
    refused, covered = 0, []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        proxy, gold = world(rng, 60, 64)
        gold[rng.random(gold.shape) > 0.5] = np.nan
        gold[rng.random(60) < 0.1] = np.nan
        refused += label_check(gold, {"rm": proxy}).why != ""
        (_, human), prompts = common_samples(proxy, gold)
        row = frontier(human, kls=[0.5], replicates=200, keys=prompts["keys"])
        covered += [row.gain_low[0] <= 1 <= row.gain_high[0]] * bool(row.reliable[0])
    assert refused <= 1
    assert len(covered) > 60
    assert np.mean(covered) >= 0.88


def test_pairs_keep_the_prompts_that_are_left():
    (a, b), prompts = common_samples(
        [[1.0, 2], [3, np.nan]], [[np.nan, np.nan], [1, 1]], keys=[7, 8], clusters=["x", "y"]
    )
    assert prompts["keys"].tolist() == [8]
    assert prompts["clusters"].tolist() == ["y"]
    assert np.isnan(a).tolist() == np.isnan(b).tolist() == [[False, True]]
    with pytest.raises(EstimateError, match="No sample has a score of all"):
        common_samples([[1.0, np.nan]], [[np.nan, 1.0]])


@pytest.mark.parametrize("missing", ["", "NaN", "nan"])
def test_a_table_may_lack_the_scores_that_it_says_it_lacks(tmp_path, missing):
    file = tmp_path / "mine.csv"
    file.write_text(f"prompt_id,sample_id,human,rm\na,0,1.5,2\na,1,{missing},3\n")
    assert read_partial_table(file, ["human", "rm"], ["human"])["human"].to_list() == [1.5, None]
    with pytest.raises(TableError, match=r"'human' is missing, NaN or infinite, in row 2\. If only some.*--partial"):
        read_partial_table(file, ["human", "rm"], [])
    file.write_text(f"prompt_id,sample_id,human,rm\na,0,{missing},2\na,1,good,3\n")
    with pytest.raises(TableError, match="'human' is not a number .'good'., in row 2"):
        read_partial_table(file, ["human", "rm"], ["human"])
    file.write_text(f"prompt_id,sample_id,human,rm\na,0,{missing},2\na,1,{missing},3\n")
    with pytest.raises(TableError, match="'human' has no score at all"):
        read_partial_table(file, ["human"], ["human"])
    file.write_text(f"prompt_id,sample_id,human,rm\na,0,{missing},2\na,1,12,3\n")
    with pytest.raises(TableError, match="'human' is outside its bounds, 1 to 10: 12 .*in row 2"):
        read_partial_table(file, ["human"], ["human"], {"human": (1, 10)})


def test_rewards_without_common_samples_are_refused(partial):
    nothing = partial.with_columns(rm=pl.when(pl.col("human").is_null()).then("rm"))
    with pytest.raises(ArtifactError, match="no sample has scores of all of rm, human"):
        estimate("proxy_gap", nothing, settings_of("proxy_gap", study()))
    assert set(KEY) < set(with_ensembles(partial, {}).columns)

"""A table of scores with samples of policies in it: the limit at their KLs, from all of them together."""

import numpy as np
import polars as pl
import pytest
import yaml
from running import ROOT, snakemake

from alignment_limits.errors import TableError
from alignment_limits.exact.markov import MarkovWorld
from alignment_limits.limits import Pool, limit_at
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.estimates import ESTIMATORS, FRONTIER, estimate
from alignment_limits.tables.grid import prompt_keys
from alignment_limits.tables.pools import reaching
from alignment_limits.tables.schemas.samples import STANDARDISED
from alignment_limits.tables.scores import read_pool
from alignment_limits.tables.tradeoffs import CLOSED_POLICIES

PROMPTS, SAMPLES, KLS = 32, 32, {"ppo": 2.0, "grpo": 4.0}


@pytest.fixture(scope="module")
def world():
    """Prompts of a Markov world, samples of the base and of two policies, scores and log-ratios of all of them."""
    rng = np.random.default_rng(0)
    base, pairs = MarkovWorld.random(PROMPTS, seed=0), rng.normal(size=(PROMPTS, 20, 20))
    laws, replies = {"qwen": (pairs, 0.0)}, []
    for name, kl in KLS.items():
        wrong = pairs + 0.5 * rng.normal(size=pairs.shape)
        laws[name] = wrong, base.limit(wrong, kl)[1]
    for reward, inverse in laws.values():
        replies.append(base.sample(reward, inverse, SAMPLES, rng))
    every = np.concatenate(replies, axis=1)
    scores = {"gold": base.reward(pairs, every), "rm": base.reward(pairs + rng.normal(size=pairs.shape), every)}
    ratios = {name: base.log_ratio(*law, every) for name, law in laws.items() if name != "qwen"}
    return base, pairs, np.repeat(list(laws), SAMPLES), scores, ratios


@pytest.fixture
def table(world):
    _, _, laws, scores, ratios = world
    prompts, samples = np.indices(scores["gold"].shape)
    return pl.DataFrame(
        {
            "prompt_id": [f"p{i:02d}" for i in prompts.ravel()],
            "sample_id": samples.ravel(),
            "model": np.broadcast_to(laws, scores["gold"].shape).ravel(),
            **{name: values.ravel() for name, values in scores.items()},
            **{f"u_{name}": values.ravel() for name, values in ratios.items()},
        }
    ).sample(fraction=1, shuffle=True, seed=0)


POOL = {"column": "model", "base": "qwen", "log_ratios": {"ppo": "u_ppo", "grpo": "u_grpo"}}


def test_a_study_of_pooled_scores_shows_the_limit_at_its_policies_kls(world, table, tmp_path):
    base, pairs, laws, scores, ratios = world
    api = pl.DataFrame(  # a policy without log-ratios: best-of-4 of the base, one reply for each of most prompts
        {
            "prompt_id": [f"p{i:02d}" for i in range(2, PROMPTS)],
            "sample_id": [10_000] * (PROMPTS - 2),
            "model": ["api"] * (PROMPTS - 2),
            **{name: values[2:, :SAMPLES][:, 4:8].max(axis=1) for name, values in scores.items()},
        }
    )
    pl.concat([table, api], how="diagonal").write_csv(tmp_path / "mine.csv")
    study = {
        "study": "test-pooled-scores",
        "scores": {
            "table": str(tmp_path / "mine.csv"),
            "gold": "gold",
            "proxies": ["rm"],
            "pool": POOL | {"closed": ["api"]},
        },
        "limits": {"bootstrap": 200, "kls": [0.5, 1.0, 2.0]},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    snakemake("--configfile", tmp_path / "mine.yaml", "--forceall")
    results = ROOT / "results/test-pooled-scores"

    # all but the pooled rows is of the base's samples alone
    standardised = read_table(results / "ensembles/standardised.parquet", STANDARDISED)
    assert standardised.height == PROMPTS * SAMPLES
    unit = np.sqrt(scores["gold"][:, :SAMPLES].var(axis=1, ddof=1).mean())
    frontier = read_table(results / "limits/frontier.parquet", FRONTIER)
    own = frontier.filter((pl.col("optimized") == "gold") & (pl.col("evaluated") == "gold"))
    assert set(own.filter(pl.col("samples_from") == "base", pl.col("at") == "kl")["kl"]) == {0.5, 1.0, 2.0}

    # pooled rows go on to the farthest policy, and are those of the library
    pooled = own.filter(pl.col("samples_from") == "pool", pl.col("budget") == "average").sort("kl")
    assert pooled["kl"].max() == pytest.approx(KLS["grpo"], rel=0.1)
    again = limit_at(
        scores["gold"] / unit,
        pooled["kl"].to_numpy(),
        pool=Pool.of(laws, ratios, base="qwen"),
        keys=prompt_keys(standardised),
        replicates=200,
    )
    np.testing.assert_allclose(pooled["gain"].to_numpy(), again.gain, rtol=1e-6)
    assert pooled["reliable"].to_list() == again.reliable.tolist()

    # right where base samples show nothing
    for row in pooled.filter("reliable").iter_rows(named=True):
        truth = base.limit(pairs, row["kl"])[0] / unit
        assert row["gain_low"] <= truth <= row["gain_high"], row["kl"]
    assert pooled.filter("reliable")["kl"].max() > 3 > own.filter("reliable", samples_from="base")["kl"].max()
    assert (results / "figures/frontier.pdf").stat().st_size > 5000

    # the closed policy has a gain and a bound of its KL
    (closed,) = read_table(results / "tradeoffs/closed_policies.parquet", CLOSED_POLICIES).iter_rows(named=True)
    assert (closed["policy"], closed["prompts"], closed["replies"]) == ("api", PROMPTS - 2, PROMPTS - 2)
    assert closed["gain_low"] > 0
    assert 0 <= closed["kl_at_least"] < np.log(4) - 3 / 4
    assert (results / "figures/closed_policies.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            pl.col("model").replace("grpo", "dpo").alias("model"),
            r"1024 rows are of laws without log-ratios, the first in row \d+: 'dpo'.*'qwen' and ppo, grpo: correct",
        ),
        (pl.col("model").replace("qwen", "qwem").alias("model"), r"'qwem'. scores.pool names the base 'qwen'"),
        (pl.lit(None, pl.Float64).alias("u_ppo"), r"u_ppo"),
        (pl.lit("ppo").alias("model"), r"prompt 'p00' has no row of the base 'qwen': add"),
    ],
    ids=["a law that is not named", "a base that is not named", "no log-ratios", "no row of the base"],
)
def test_a_pool_that_cannot_be_used_is_refused(table, tmp_path, change, message):
    table.with_columns(change).write_parquet(tmp_path / "mine.parquet")
    with pytest.raises(TableError, match=message):
        read_pool(tmp_path / "mine.parquet", ["gold", "rm"], **POOL)


def test_a_column_of_log_ratios_that_is_not_there_is_named_with_its_key(table, tmp_path):
    table.drop("u_ppo").write_parquet(tmp_path / "mine.parquet")
    with pytest.raises(TableError, match=r"no column u_ppo; it has: .* scores.pool.log_ratios"):
        read_pool(tmp_path / "mine.parquet", ["gold", "rm"], **POOL)


def test_log_ratios_of_the_wrong_sign_are_reported(table, tmp_path):
    changed = table.with_columns(-pl.col("u_ppo"))
    changed.write_parquet(tmp_path / "mine.parquet")
    pool = read_pool(tmp_path / "mine.parquet", ["gold", "rm"], **POOL)
    base = pool.filter(law="base").select("prompt_id", "sample_id", "gold", "rm")
    settings = {"gold": "gold", "optimized": ["gold"], "kls": [0.5, 3.0], "betas": [4.0], "bootstrap": 200, "seed": 0}
    rows = estimate("frontier", base, settings, pool)
    pooled = rows.filter(samples_from="pool")
    assert not pooled["reliable"].any()
    assert pooled["reason"].str.starts_with("log-ratios of 'ppo' contradict the samples").all()
    assert [line[:28] for line in ESTIMATORS["frontier"].said(rows, settings)] == ["no pooled row is reliable: l"]


def test_kls_of_a_pooled_frontier_go_on_to_the_farthest_policy():
    assert reaching([1.0, 2.0], 0.5) == [1.0, 2.0]
    assert reaching([1.0, 2.0], 3.5) == [1.0, 2.0, 2.5, 3.125, 3.5]


def test_closed_laws_need_no_log_ratios_and_others_do(table, tmp_path):
    closed = table.with_columns(pl.when(pl.col("model") == "grpo").then(None).otherwise(pl.col("u_ppo")).alias("u_ppo"))
    closed.write_csv(tmp_path / "mine.csv")
    pool = {"column": "model", "base": "qwen", "log_ratios": {"ppo": "u_ppo"}}
    read = read_pool(tmp_path / "mine.csv", ["gold"], **pool, closed=["grpo"])
    assert read.filter(law="grpo")["log_ratio/ppo"].null_count() == PROMPTS * SAMPLES
    assert read.filter(pl.col("law") != "grpo")["log_ratio/ppo"].null_count() == 0
    with pytest.raises(TableError, match="'u_ppo' is missing, NaN or infinite, in row"):
        read_pool(tmp_path / "mine.csv", ["gold"], **pool | {"log_ratios": {"ppo": "u_ppo", "grpo": "u_grpo"}})
    with pytest.raises(TableError, match="no row is of the law 'gtp', which scores.pool.closed names"):
        read_pool(tmp_path / "mine.csv", ["gold"], **pool, closed=["grpo", "gtp"])
    bad = closed.with_columns(pl.when(pl.col("model") == "ppo").then(None).otherwise(pl.col("u_ppo")).alias("u_ppo"))
    bad.write_csv(tmp_path / "bad.csv")
    with pytest.raises(TableError, match="'u_ppo' is missing, NaN or infinite, in row"):
        read_pool(tmp_path / "bad.csv", ["gold"], **pool, closed=["grpo"])

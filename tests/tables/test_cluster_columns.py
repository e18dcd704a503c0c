"""Clusters of prompts on their way from a user's column to the intervals."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from snakemake.iocontainers import Params

from alignment_limits.errors import TableError
from alignment_limits.limits import frontier
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import estimate
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.samples import CLUSTERS, PROMPTS, SCORES, STANDARDISED
from alignment_limits.tables.scores import cluster_column, read_clusters

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
PROVENANCE = {"study": "tiny", "stage": "test", "versions": {}}


@pytest.fixture
def table() -> pl.DataFrame:
    """40 prompts of 20 templates, two of each, whose spreads are those of their templates; 24 samples."""
    rng = np.random.default_rng(0)
    spread = np.repeat(rng.lognormal(sigma=0.4, size=20), 2)[:, None]
    gold = spread * rng.standard_normal((40, 24))
    ids = [(f"p{i:02d}", j, f"template {i // 2}") for i in range(40) for j in range(24)]
    prompt, sample, cluster = zip(*ids, strict=True)
    columns = {"prompt_id": prompt, "sample_id": sample, "cluster": cluster, "gold": gold.ravel()}
    return pl.DataFrame(columns, schema_overrides={"sample_id": pl.Int32}).with_columns(proxy=pl.col("gold") * 2)


class Files(list[str]):
    """Files of a job, by place; or by name: one, or a list of them."""

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(str(path) for path in given)
        self.named = {k: [str(each) for each in v] if isinstance(v, list) else str(v) for k, v in named.items()}

    def __getitem__(self, key):  # type: ignore[no-untyped-def, override]
        return self.named[key] if isinstance(key, str) else super().__getitem__(key)

    def __getattr__(self, name: str) -> object:
        return self.named[name]


def run(script: str, folder: Path, inputs: Files, outputs: Files, params: dict[str, object]) -> None:
    job = SimpleNamespace(
        input=inputs,
        output=outputs,
        params=Params(fromdict={"p": params, "code": {"alignment_limits": "c"}}),
        config={"study": "tiny", "seed": 0},
        log=[str(folder / f"{script}.log")],
        rule=script,
    )
    runpy.run_path(str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": job})


def test_a_column_called_cluster_reaches_the_frontiers_intervals(table: pl.DataFrame, tmp_path: Path) -> None:
    given = table.sample(fraction=1, shuffle=True, seed=1)
    given.write_csv(tmp_path / "scores.csv")
    raw = {f"scores/{name}": tmp_path / f"{name}.parquet" for name in ("gold", "proxy")}
    clusters = tmp_path / "clusters.parquet"
    names = ["gold", "proxy"]
    run(
        "import_scores",
        tmp_path,
        Files(table=tmp_path / "scores.csv"),
        Files(clusters, **raw),
        {"rewards": names, "bounds": {}, "cluster": None, "pool": None},
    )
    standard = {name: tmp_path / f"{name}.parquet" for name in ("scales", "standardised")}
    shards = {name: [file] for name, file in raw.items()}
    run("standardise", tmp_path, Files(clusters, **shards), Files(**standard), {"rewards": names, "bounds": {}})
    settings = {"gold": "gold", "optimized": ["gold"], "betas": [2.0], "kls": [0.2], "bootstrap": 200, "seed": 0}
    made = read_table(standard["standardised"], STANDARDISED)
    got = estimate("frontier", made, settings).filter(at="kl", budget="average")

    labels = prompt_clusters(made)
    assert labels is not None
    assert len(set(labels)) == 20
    r = reward_arrays(made, ["gold"])["gold"]
    draws = {"replicates": 200, "keys": prompt_keys(made)}
    known, blind = (
        frontier(r, r, kls=[0.2], clusters=each, **draws)
        for each in (labels, None)  # type: ignore[arg-type]
    )
    assert got["gain_low"][0] == known.gain_low[0]
    assert got["gain_high"][0] == known.gain_high[0]
    assert known.gain_high[0] - known.gain_low[0] > 1.15 * (blind.gain_high[0] - blind.gain_low[0])


def test_a_prompt_file_s_column_goes_on_and_a_prompt_without_one_stands_alone(
    table: pl.DataFrame, tmp_path: Path
) -> None:
    prompts = pl.DataFrame(
        {"prompt_id": [f"p{i:02d}" for i in range(40)], "text": "x", "reference": None, "source": "s",
         "cluster": ["one"] * 3 + [None] * 37},
        schema_overrides={"reference": pl.String},
    )  # fmt: skip
    write_table(prompts, tmp_path / "prompts.parquet", PROMPTS, PROVENANCE)
    scores = table.select("prompt_id", "sample_id", score="gold", truncated=pl.lit(False))
    write_table(scores, tmp_path / "gold.parquet", SCORES, PROVENANCE)
    standard = {name: tmp_path / f"{name}.parquet" for name in ("scales", "standardised")}
    for file, count in ((prompts, 38), (prompts.drop("cluster"), None)):
        write_table(file, tmp_path / "prompts.parquet", PROMPTS, PROVENANCE)
        files = Files(tmp_path / "prompts.parquet", **{"scores/gold": [tmp_path / "gold.parquet"]})
        run("standardise", tmp_path, files, Files(**standard), {"rewards": ["gold"], "bounds": {}})
        labels = prompt_clusters(read_table(standard["standardised"], STANDARDISED))
        assert (None if labels is None else len(set(labels))) == count


def test_the_column_is_the_one_asked_for_and_no_reward(table: pl.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    table.with_columns(template=pl.col("cluster")).write_parquet(file)
    assert cluster_column(file, None, ["gold"]) == "cluster"
    assert cluster_column(file, None, ["gold", "cluster"]) is None
    assert cluster_column(file, "template", ["gold"]) == "template"
    assert read_clusters(file, "template").height == 40
    table.drop("cluster").write_parquet(file)
    assert cluster_column(file, None, ["gold"]) is None
    with pytest.raises(TableError, match="no column template"):
        read_clusters(file, "template")


def test_a_prompt_in_two_clusters_is_refused_with_its_rows(table: pl.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    table.with_columns(cluster=pl.when(pl.int_range(pl.len()) == 30).then(pl.lit("x")).otherwise("cluster")).write_csv(
        file
    )
    with pytest.raises(
        TableError, match="prompt 'p01' has two values of 'cluster': 'template 0' in row 25, 'x' in row 31"
    ):
        read_clusters(file, "cluster")
    assert CLUSTERS.columns["cluster"] == pl.String

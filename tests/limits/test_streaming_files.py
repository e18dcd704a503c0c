"""From Parquet files to the frontier: readers that check, parts that combine, a command with two uses."""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alignment_limits.commands.tables import run_stream, stream_arguments, sum_tables
from alignment_limits.errors import ArtifactError
from alignment_limits.limits import frontier
from alignment_limits.limits.streaming import read_frontier
from alignment_limits.limits.streaming.terms import compiled
from alignment_limits.tables import streaming
from alignment_limits.tables.grid import Grid, prompt_key, prompt_keys
from alignment_limits.tables.streaming import merge_files, read_sums, row_count, stream_prompts, write_sums


def command(words: list[str]) -> None:
    """Run `alignment-limits stream`; a user's error is raised."""
    parser = argparse.ArgumentParser()
    stream_arguments(parser)
    run_stream(parser.parse_args(words))


def write(table: pl.DataFrame, path: Path, rows: int = 100) -> str:
    table.write_parquet(path, row_group_size=rows)
    return str(path)


def arrays(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table's rewards as arrays in memory, and the prompts' keys."""
    prompts = table["prompt_id"].unique(maintain_order=True).to_list()
    width = table["prompt_id"].value_counts()["count"].max()
    out = np.full((2, len(prompts), width), np.nan)
    for i, prompt in enumerate(prompts):
        rows = table.filter(pl.col("prompt_id") == prompt)
        out[:, i, : rows.height] = rows.select("rm", "human").to_numpy().T
    return out[0], out[1], np.array([prompt_key(p) for p in prompts])


def test_prompts_come_whole_whatever_the_batches(
    table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(table, tmp_path / "t.parquet", rows=37)
    for batch in (7, 64, 1 << 18):
        monkeypatch.setattr(streaming, "BATCH", batch)
        told: list[int] = []
        got = list(stream_prompts(file, ["rm", "human"], told.append))
        assert sum(told) == table.height == row_count([file], ["rm"])
        assert np.array_equal(np.concatenate([g.columns[0] for g in got]), table["rm"].to_numpy())
        assert np.array_equal(np.concatenate([g.columns[1] for g in got]), table["human"].to_numpy())
        counts = table.group_by("prompt_id", maintain_order=True).len()
        assert np.array_equal(np.concatenate([g.counts for g in got]), counts["len"].to_numpy())
        keys = np.concatenate([g.keys for g in got])
        assert keys.tolist() == [prompt_key(p) for p in counts["prompt_id"]]


def test_keys_are_stable() -> None:
    """Parts made today must merge with parts made by any later version; and memory names prompts alike."""
    assert prompt_key("p000") == 5302630373986612
    assert prompt_keys(pl.DataFrame({"prompt_id": ["p000"]})).tolist() == [prompt_key("p000")]
    assert prompt_key("p000") != prompt_key("p001")


def test_a_study_in_memory_and_streamed_has_the_same_splits_and_numbers(tmp_path: Path) -> None:
    """1,100 prompts, where both take one split: at a beta to rounding, at a KL to the grid's interpolation."""
    rng = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "prompt_id": np.repeat([f"prompt {i}" for i in range(1100)], 16),
            "sample_id": np.tile(np.arange(16), 1100).astype(np.int32),
            "rm": rng.standard_normal(17_600),
        }
    ).sort("prompt_id", "sample_id")
    r = Grid.of(table).array(table["rm"])
    whole = frontier(r, r, betas=[2.0], kls=[0.1, 0.3], keys=prompt_keys(table), replicates=100)
    sums = sum_tables([write(table, tmp_path / "t.parquet")], "rm", [], betas=[2.0])
    streamed = read_frontier(sums, [0.1, 0.3], betas=[2.0])["rm"]
    np.testing.assert_allclose(streamed.gain[0], whole.gain[0], rtol=1e-11)
    np.testing.assert_allclose(streamed.gain, whole.gain, rtol=2e-6)


def test_files_give_the_frontier_of_memory(table: pl.DataFrame, tmp_path: Path) -> None:
    """However prompts are dealt to files and parts, to the bit; at betas the estimate in memory, to rounding."""
    r, v, keys = arrays(table)
    first = table.filter(pl.col("prompt_id") < "p021")
    shuffled = table.filter(pl.col("prompt_id") >= "p021").sample(fraction=1, shuffle=True, seed=1)
    second = shuffled.sort("prompt_id", descending=True, maintain_order=True)
    files = [write(first, tmp_path / "a.parquet"), write(second, tmp_path / "b.parquet", rows=1000)]
    betas = [2.0, 1.0]
    whole = sum_tables([write(table, tmp_path / "all.parquet")], "rm", ["human"], betas=betas)
    for file in files:
        part = sum_tables([file], "rm", ["human", "rm"], betas=betas)
        write_sums(part, Path(file).with_suffix(".npz"), {})
    merged = merge_files([Path(file).with_suffix(".npz") for file in files[::-1]])
    together = sum_tables(files, "rm", ["human"], betas=betas)
    np.testing.assert_allclose(merged.totals, whole.totals, rtol=1e-13, atol=1e-13)
    if compiled() is not None:
        assert np.array_equal(merged.totals, whole.totals)
        assert np.array_equal(together.totals, whole.totals)
    assert np.array_equal(merged.specimens.scores, whole.specimens.scores, equal_nan=True)
    memory = _one_split(r, v, keys, betas)
    for name, ours in read_frontier(merged, betas=betas).items():
        for column, expected in memory[name].items():
            np.testing.assert_allclose(getattr(ours, column), expected, rtol=1e-9, atol=1e-12, err_msg=column)


def _one_split(r: np.ndarray, v: np.ndarray, keys: np.ndarray, betas: list[float]) -> dict[str, dict[str, np.ndarray]]:
    """Gains and KL of `frontier`; 20 copies of the prompts under the same keys make it use one split."""
    big = {"rm": np.tile(r, (20, 1)), "human": np.tile(v, (20, 1))}
    tables = frontier(big["rm"], big, betas=betas, keys=np.tile(keys, 20))
    columns = ("beta", "kl", "kl_reverse", "gain", "gain_plugin", "kl_plugin")
    return {name: {c: getattr(t, c) for c in columns} for name, t in tables.items()}


def test_one_file_per_reward_in_the_columns_of_the_contract(table: pl.DataFrame, tmp_path: Path) -> None:
    for reward in ("rm", "human"):
        (tmp_path / reward).mkdir()
        contract = table.select("prompt_id", "sample_id", score=pl.col(reward), truncated=pl.lit(False))
        write(contract, tmp_path / reward / "0.parquet", rows=70 if reward == "rm" else 90)
    template = str(tmp_path / "{reward}" / "0.parquet")
    one = sum_tables([template], "rm", ["human"])
    other = sum_tables([write(table, tmp_path / "wide.parquet")], "rm", ["human"])
    assert np.array_equal(one.totals, other.totals)
    moved = table.select("prompt_id", sample_id=pl.col("sample_id") + 1, score=pl.col("human"))
    write(moved, tmp_path / "human" / "0.parquet")
    with pytest.raises(ArtifactError, match=r"sample_id of 'human' differs from that of 'rm', in row 1$"):
        sum_tables([template], "rm", ["human"])
    write(moved[:-1], tmp_path / "human" / "0.parquet")
    with pytest.raises(ArtifactError, match="must contain the same keys"):
        sum_tables([template], "rm", ["human"])


def changed(table: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = table[column].to_list()
    values[row - 1] = value
    return table.with_columns(pl.Series(column, values, dtype=table.schema[column]))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rm", None, r"t\.parquet: 'rm' is missing, NaN or infinite, in row 321$"),
        ("human", float("nan"), r"'human' is missing, NaN or infinite, in row 321$"),
        ("human", float("inf"), r"'human' is missing, NaN or infinite, in row 321$"),
        ("prompt_id", None, r"'prompt_id' is missing, in row 321$"),
        ("sample_id", None, r"'sample_id' is missing, in row 321$"),
        ("sample_id", -1, r"'sample_id' is not a whole number from 0 to 2\^31 - 1 \(-1\), in row 321$"),
    ],
)
def test_bad_rows_are_named(
    table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: object, message: str
) -> None:
    monkeypatch.setattr(streaming, "BATCH", 50)
    file = write(changed(table, column, 321, value), tmp_path / "t.parquet", rows=80)
    with pytest.raises(ArtifactError, match=message):
        list(stream_prompts(file, ["rm", "human"]))


def test_repeated_samples_are_named(table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BATCH", 50)
    row = 1 + table["prompt_id"].to_list().index("p010")
    twice = changed(table, "sample_id", row + 5, 2)
    file = write(twice, tmp_path / "t.parquet", rows=80)
    with pytest.raises(ArtifactError, match=rf"\('p010', sample 2\), in row {row + 2} and {row + 5}$"):
        list(stream_prompts(file, ["rm"]))


def test_split_prompts_are_named(table: pl.DataFrame, tmp_path: Path) -> None:
    cut = 1 + table["prompt_id"].to_list().index("p030") + 4
    a, b = write(table[:cut], tmp_path / "a.parquet"), write(table[cut:], tmp_path / "b.parquet")
    with pytest.raises(ArtifactError, match=rf"'p030' .* begin in {a}, row {cut - 4}, and again in {b}, row 1;"):
        sum_tables([a, b], "rm", [])
    apart = write(pl.concat([table[cut:], table[:cut]]), tmp_path / "c.parquet")
    again = table.height - 4
    with pytest.raises(ArtifactError, match=rf"'p030' .* in {apart}, row 1, and again in {apart}, row {again};"):
        list(stream_prompts(apart, ["rm"]))
    with pytest.raises(ArtifactError, match=rf"^{a}: given twice"):
        sum_tables([a, b, a], "rm", [])
    copy = write(table[:cut], tmp_path / "copy.parquet")
    with pytest.raises(ArtifactError, match=rf"'p000' .* begin in {a}, row 1, and again in {copy}, row 1;"):
        sum_tables([a, copy], "rm", [])


def test_bad_files_are_named(table: pl.DataFrame, tmp_path: Path) -> None:
    file = write(table.with_columns(word=pl.lit("x"), half=pl.col("sample_id") + 0.5), tmp_path / "t.parquet")
    for bad, rewards, message in (
        (str(tmp_path / "no.parquet"), ["rm"], r"no\.parquet does not exist"),
        (file, ["rm", "gold"], r"t\.parquet has no column gold; it has: prompt_id"),
        (file, ["word"], r"t\.parquet: 'word' is not a number \('x'\), in row 1, 2, 3, 4, 5 and \d+ more"),
        (write(table[:0], tmp_path / "empty.parquet"), ["rm"], r"empty\.parquet has no rows"),
        (
            write(table.with_columns(pl.col("sample_id") / 2), tmp_path / "h.parquet"),
            ["rm"],
            r"h\.parquet: 'sample_id'",
        ),
    ):
        with pytest.raises(ArtifactError, match=message):
            list(stream_prompts(bad, rewards))
        with pytest.raises(ArtifactError, match=message):
            sum_tables([bad], rewards[0], rewards[1:])
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(ArtifactError, match=r"bad\.parquet cannot be read"):
        list(stream_prompts(str(tmp_path / "bad.parquet"), ["rm"]))


def test_scores_too_large_to_sum_are_told_with_their_file(table: pl.DataFrame, tmp_path: Path) -> None:
    file = write(changed(table, "human", 7, 1e60), tmp_path / "t.parquet")
    with pytest.raises(ArtifactError, match=r"t\.parquet: Scores of 'human' differ by 1e\+60"):
        sum_tables([file], "rm", ["human"])


def test_a_table_with_clusters_is_refused_with_the_way_out(table: pl.DataFrame, tmp_path: Path) -> None:
    file = write(table.with_columns(cluster=pl.lit("one")), tmp_path / "t.parquet")
    with pytest.raises(ArtifactError, match=r"t\.parquet has a column 'cluster'.*sum_shard"):
        sum_tables([file], "rm", [])


def test_integer_and_float32_scores_and_numeric_ids(tmp_path: Path) -> None:
    table = pl.DataFrame({"prompt_id": [7, 7, 8, 8], "sample_id": [0, 1, 1, 0], "rm": [1, 2, 4, 3], "human": [0.5] * 4})
    file = write(table.with_columns(pl.col("human").cast(pl.Float32)), tmp_path / "t.parquet")
    (prompts,) = [p for p in stream_prompts(file, ["rm", "human"]) if len(p.keys) == 1][:1]
    assert prompts.keys.tolist() == [prompt_key("7")]
    assert prompts.columns[0].tolist() == [1.0, 2.0]
    assert sum_tables([file], "rm", ["human"]).samples == 4


def test_sums_survive_their_file(table: pl.DataFrame, tmp_path: Path) -> None:
    sums = sum_tables([write(table, tmp_path / "t.parquet")], "rm", ["human"], seed=3)
    write_sums(sums, tmp_path / "p.npz", {"tables": ["t"]})
    back = read_sums(tmp_path / "p.npz")
    assert (back.names, back.seed, back.samples) == (("rm", "human"), 3, table.height)
    for name in ("inverse", "prompts", "sums", "keys"):
        assert np.array_equal(getattr(back, name), getattr(sums, name)), name
    assert np.array_equal(back.specimens.marks, sums.specimens.marks)
    assert [p.name for p in tmp_path.glob("*.part")] == []

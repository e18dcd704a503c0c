"""From Parquet files to the frontier: readers that check, parts that combine, a command with two uses."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alignment_limits.commands import tables as commands
from alignment_limits.commands.tables import run_stream, stream_arguments, sum_tables
from alignment_limits.errors import AlignmentLimitsError, ArtifactError
from alignment_limits.limits import frontier
from alignment_limits.limits.frontier import FrontierTable
from alignment_limits.limits.streaming import read_frontier
from alignment_limits.limits.streaming.terms import compiled
from alignment_limits.tables import streaming
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.estimates import FRONTIER
from alignment_limits.tables.grid import Grid, prompt_key, prompt_keys
from alignment_limits.tables.streaming import Prompts, merge_files, read_sums, row_count, stream_prompts, write_sums


@pytest.fixture
def table() -> pl.DataFrame:
    """60 prompts of 20 to 49 samples."""
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 50, 60)
    r = rng.standard_normal(counts.sum())
    return pl.DataFrame(
        {
            "prompt_id": np.repeat([f"p{i:03d}" for i in range(60)], counts),
            "sample_id": np.concatenate([np.arange(c) for c in counts]).astype(np.int32),
            "rm": r,
            "human": 0.5 * r + rng.standard_normal(len(r)),
        }
    )


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


@pytest.fixture
def six(table: pl.DataFrame, tmp_path: Path) -> list[str]:
    """The table as six files of ten prompts."""
    ids = table["prompt_id"].str.slice(1).cast(pl.Int64)
    return [write(table.filter(ids // 10 == i), tmp_path / f"{i}.parquet") for i in range(6)]


def test_a_stopped_sum_goes_on_and_leaves_no_trace(
    six: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the third and in the fifth table, tables in another order: the same bytes as in one go."""
    whole, part = tmp_path / "whole.npz", tmp_path / "part.npz"
    sum_tables(six, "rm", ["human"], part=whole)
    monkeypatch.setattr(commands, "KEEP", 0.0)
    read: list[str] = []

    def stopped(table: str, *rest: object, **named: object) -> Iterator[Prompts]:
        read.append(table)
        prompts = stream_prompts(table, *rest, **named)
        yield next(prompts)
        if len(read) in (3, 6):
            raise KeyboardInterrupt
        yield from prompts

    monkeypatch.setattr(commands, "stream_prompts", stopped)
    for tables in (six, six[::-1]):
        with pytest.raises(KeyboardInterrupt):
            sum_tables(tables, "rm", ["human"], part=part)
    sum_tables(six, "rm", ["human"], part=part)
    assert read == [*six[:3], *six[:2:-1], *six[2:4]][: len(read)]
    assert part.read_bytes() == whole.read_bytes()
    before = part.stat().st_mtime_ns
    sum_tables(six, "rm", ["human"], part=part)  # nothing left to do
    assert part.stat().st_mtime_ns == before


def test_parts_in_any_order_give_the_same_bytes(six: list[str], tmp_path: Path) -> None:
    """The table as a file; from other parts all but the record of what it was made of is the same."""
    for name, tables in (("a", six[:1]), ("b", six[1:4]), ("c", six[4:]), ("rest", six[:0:-1])):
        sum_tables(tables, "rm", ["human"], betas=[1.0], part=tmp_path / f"{name}.npz")
    made = []
    for i, parts in enumerate((["a", "b", "c"], ["c", "a", "b"], ["rest", "a"])):
        out = tmp_path / f"frontier-{i}.parquet"
        files = [str(tmp_path / f"{part}.npz") for part in parts]
        command(["merge", "--parts", *files, "--out", str(out), "--betas", "1", "--kls", "0.1", "0.5"])
        made.append(out)
    assert made[0].read_bytes() == made[1].read_bytes()
    assert read_table(made[0], FRONTIER).equals(read_table(made[2], FRONTIER), null_equal=True)


def test_a_part_of_something_else_is_not_continued(table: pl.DataFrame, six: list[str], tmp_path: Path) -> None:
    part = tmp_path / "part.npz"
    sum_tables(six[:2], "rm", ["human"], part=part)
    before = part.read_bytes()
    for change, message in (
        ({"evaluated": []}, r"part\.npz has another rewards than this command"),
        ({"seed": 1}, r"part\.npz has another seed than this command \(0, not 1\)"),
        ({"betas": [0.77]}, r"part\.npz has another beta grid"),
        ({"tables": six[1:3]}, r"0\.parquet is not in --tables, but was summed into .*part\.npz"),
    ):
        with pytest.raises(ArtifactError, match=message):
            sum_tables(**({"tables": six, "optimized": "rm", "evaluated": ["human"], "part": part} | change))
    write(changed(pl.read_parquet(six[0]), "rm", 5, 0.25), Path(six[0]))
    with pytest.raises(ArtifactError, match=r"0\.parquet has changed since it was summed into .*part\.npz"):
        sum_tables(six, "rm", ["human"], part=part)
    assert part.read_bytes() == before


def test_prompts_of_tables_summed_before_the_stop_are_known(six: list[str], tmp_path: Path) -> None:
    part = tmp_path / "part.npz"
    sum_tables(six[:2], "rm", [], part=part)
    both = pl.concat([pl.read_parquet(six[2]), pl.read_parquet(six[1]).filter(pl.col("prompt_id") == "p013")])
    again = write(both, tmp_path / "again.parquet")
    with pytest.raises(ArtifactError, match=rf"'p013' .* begin in {six[1]}, row \d+, and again in {again}, row \d+;"):
        sum_tables([*six[:2], again], "rm", [], part=part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluated": []}, r"b\.npz has another rewards than .*a\.npz \(\('rm',\), not \('rm', 'human'\)\)"),
        ({"seed": 4}, r"b\.npz has another seed than .*a\.npz \(4, not 0\)"),
        ({"scale": 2.5}, r"b\.npz has another beta grid than .*a\.npz"),
        ({"from": 0}, r"10 prompt\(s\) would count twice, the first in .*a\.npz and .*b\.npz"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(
    six: list[str], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    change = dict(change)
    first = change.pop("from", 1)
    sum_tables(six[:1], "rm", ["human"], part=tmp_path / "a.npz")
    given = {"tables": six[first:], "optimized": "rm", "evaluated": ["human"], "part": tmp_path / "b.npz"}  # type: ignore[misc]
    sum_tables(**(given | change))
    with pytest.raises(ArtifactError, match=message):
        merge_files([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_files_that_are_no_parts_are_refused(table: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        read_sums(tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    whole = tmp_path / "whole.npz"
    write_sums(sum_tables([write(table, tmp_path / "t.parquet")], "rm", []), whole, {})
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:5000])
    for name in ("text", "other", "cut"):
        with pytest.raises(ArtifactError, match=rf"{name}\.npz does not contain partial sums"):
            read_sums(tmp_path / f"{name}.npz")
    with pytest.raises(ArtifactError, match=r"60 prompt\(s\) would count twice, the first in .*whole.npz and .*whole"):
        merge_files([whole, whole])


def test_the_command_gives_the_contract_s_table(
    table: pl.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = [table.filter(pl.col("prompt_id") < "p030"), table.filter(pl.col("prompt_id") >= "p030")]
    parts = []
    for i, rows in enumerate(half):
        file, part = write(rows, tmp_path / f"{i}.parquet"), str(tmp_path / f"{i}.npz")
        command(["sum", "--optimized", "rm", "--evaluated", "human", "--tables", file, "--out", part])
        parts.append(part)
    out = tmp_path / "frontier.parquet"
    command(["merge", "--parts", *parts, "--out", str(out), "--kls", "0.1", "0.5", "9"])
    shown = capsys.readouterr().err
    assert "100%" in shown
    assert "60 prompts" in shown
    assert "not reliable" in shown
    written = read_table(out, FRONTIER)
    in_memory = set(FrontierTable.names())
    added = {"optimized", "evaluated", "samples_from", "log_m"}  # by tables/estimates.py too
    assert set(written.columns) == in_memory | added
    assert written["optimized"].unique().to_list() == ["rm"]
    assert set(written["evaluated"]) == {"rm", "human"}
    rows = written.filter(pl.col("at") == "kl", pl.col("evaluated") == "rm")
    assert rows["reliable"].to_list() == [True, True, False]
    assert rows["reason"].to_list()[:2] == ["", ""]
    with pytest.raises(AlignmentLimitsError, match=r"no\.parquet does not exist"):
        command(["sum", "--optimized", "rm", "--tables", str(tmp_path / "no.parquet"), "--out", "p.npz"])
    with pytest.raises(AlignmentLimitsError, match=r"are an \.npz file"):
        command(["sum", "--optimized", "rm", "--tables", "t.parquet", "--out", "p.parquet"])


def test_no_file_but_an_earlier_merge_is_written_over(table: pl.DataFrame, tmp_path: Path) -> None:
    file, part, out = write(table, tmp_path / "t.parquet"), tmp_path / "part.npz", tmp_path / "frontier.parquet"
    command(["sum", "--optimized", "rm", "--tables", file, "--out", str(part)])
    mine, linked, folder = tmp_path / "mine.parquet", tmp_path / "linked.parquet", tmp_path / "folder.parquet"
    mine.write_text("mine")
    linked.symlink_to(part)
    folder.mkdir()
    for target, message in (
        (part, r"part\.npz: the frontier is a \.parquet file"),
        (linked, "is an input of this command"),
        (mine, "was not written by this command"),
        (folder, "was not written by this command"),
        (Path(file), "was not written by this command"),
    ):
        before = {f: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()}
        with pytest.raises(AlignmentLimitsError, match=message):
            command(["merge", "--parts", str(part), "--out", str(target)])
        assert {f: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before
    for _ in range(2):
        command(["merge", "--parts", str(part), "--out", str(out)])
    assert read_table(out, FRONTIER).height
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, x=np.zeros(1))
    (tmp_path / "t.npz").symlink_to(file)
    for target, message in (
        (foreign, "does not contain partial sums"),
        (tmp_path / "t.npz", "is an input of this command"),
    ):
        with pytest.raises(AlignmentLimitsError, match=message):
            command(["sum", "--optimized", "rm", "--tables", file, "--out", str(target)])


def test_bounds_are_checked_row_by_row_written_with_the_part_and_the_same_for_all_parts(
    six: list[str], tmp_path: Path
) -> None:
    scores = [pl.read_parquet(table)["rm"] for table in six]
    low, high = float(min(s.min() for s in scores)), float(max(s.max() for s in scores))
    whole = sum_tables(six, "rm", [], part=tmp_path / "whole.npz", bounds=(low, high))
    again = read_sums(tmp_path / "whole.npz")
    assert (again.bounds, again.fewest) == ((low, high), whole.fewest)
    assert np.array_equal(again.ends, whole.ends)
    parts = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for part, tables in zip(parts, (six[3:], six[:3]), strict=True):
        sum_tables(tables, "rm", [], part=part, bounds=(low, high))
    table = commands.frontier_table(merge_files(parts[::-1]), kls=[0.1, 0.5])
    assert table.equals(commands.frontier_table(whole, kls=[0.1, 0.5]))
    assert (table["at_most"] > table["at_least"]).all()
    cut = float(np.sort(np.concatenate([s.to_numpy() for s in scores]))[-1]) - 1e-6
    with pytest.raises(ArtifactError, match=r"'rm' is outside its bounds, .*\(prompt 'p\d+', sample \d+\), in row"):
        sum_tables(six, "rm", [], bounds=(low, cut))
    with pytest.raises(ArtifactError, match="another pair of bounds"):
        sum_tables(six, "rm", [], part=tmp_path / "whole.npz", bounds=(low, high + 1))

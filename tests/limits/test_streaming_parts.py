"""Sums of large tables in parts: continued after a stop, merged in any order, read by the command."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_streaming_files import changed, command, write

from alignment_limits.commands import tables as commands
from alignment_limits.commands.tables import sum_tables
from alignment_limits.errors import AlignmentLimitsError, ArtifactError
from alignment_limits.limits.frontier import FrontierTable
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.estimates import FRONTIER
from alignment_limits.tables.streaming import Prompts, merge_files, read_sums, stream_prompts, write_sums


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

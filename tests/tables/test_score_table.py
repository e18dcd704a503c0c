"""Scores made elsewhere: what is accepted, and how each defect is named."""

import json

import polars as pl
import pytest

from alignment_limits.errors import ArtifactError
from alignment_limits.tables.scores import read_score_table, unnest

GOOD = "prompt_id,sample_id,gold,proxy\n1,0,1.5,2\n1,1,-3,4\n2,0,0,1\n"


def read(tmp_path, text, rewards=("gold", "proxy")):
    (tmp_path / "t.csv").write_text(text)
    return read_score_table(tmp_path / "t.csv", rewards)


def test_any_row_order_and_unequal_numbers_of_samples_are_accepted(tmp_path):
    header, *rows = GOOD.splitlines()
    table = read(tmp_path, "\n".join([header, *reversed(rows)]))
    assert table.equals(read(tmp_path, GOOD))
    assert table["prompt_id"].to_list() == ["1", "1", "2"]
    assert table.schema == {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "gold": pl.Float64,
        "proxy": pl.Float64,
    }


def test_parquet_and_csv_read_alike(tmp_path):
    table = read(tmp_path, GOOD)
    table.cast({"sample_id": pl.Int64, "proxy": pl.Float32}).write_parquet(tmp_path / "t.parquet")
    assert read_score_table(tmp_path / "t.parquet", ["gold", "proxy"]).equals(table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("proxy\n", "other\n", r"has no column proxy; it has: prompt_id, sample_id, gold, other"),
        ("1,1,-3,4", "1,1,,4", r"'gold' is missing, NaN or infinite, in row 2"),
        ("1,1,-3,4", "1,1,nan,4", r"'gold' is missing, NaN or infinite, in row 2"),
        ("1,1,-3,4", "1,1,-3,inf", r"'proxy' is missing, NaN or infinite, in row 2"),
        ("1,1,-3,4", "1,1,bad,4", r"'gold' is not a number \('bad'\), in row 2"),
        (
            "1,1,-3,4",
            "1,0,-3,4",
            r"same prompt_id and sample_id occur more than once \('1', sample 0\), in row 1 and 2",
        ),
        ("1,1,-3,4", "1,0.5,-3,4", r"'sample_id' is not a whole number from 0 to 2\^31 - 1 \(0.5\), in row 2"),
        ("1,1,-3,4", "1,-1,-3,4", r"'sample_id' is not a whole number from 0 to 2\^31 - 1 \(-1\), in row 2"),
        ("1,1,-3,4", ",1,-3,4", r"'prompt_id' is missing, in row 2"),
        ("1,1,-3,4", "1,,-3,4", r"'sample_id' is missing, in row 2"),
        (GOOD, "prompt_id,sample_id,gold,proxy\n", r"has no rows"),
    ],
)
def test_each_defect_is_named_with_its_rows(tmp_path, old, new, message):
    with pytest.raises(ArtifactError, match=message):
        read(tmp_path, GOOD.replace(old, new))


def test_many_bad_rows_are_counted_not_listed(tmp_path):
    rows = "".join(f"p{i},0,nan\n" for i in range(20))
    with pytest.raises(ArtifactError, match=r"in row 1, 2, 3, 4, 5 and 15 more"):
        read(tmp_path, "prompt_id,sample_id,gold\n" + rows, ["gold"])


def test_other_files_are_refused(tmp_path):
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(ArtifactError, match=r"a table is .parquet, .*, not '.xlsx'"):
        read_score_table(tmp_path / "t.xlsx", ["gold"])
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(ArtifactError, match=r"cannot be read as parquet"):
        read_score_table(tmp_path / "t.parquet", ["gold"])


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_nested_lists_of_scores_become_rows(tmp_path, suffix):
    records = [{"answers": ["a", "b", "c"], "gold_scores": [0.5, 1, 2]}, {"answers": [], "gold_scores": [3, 4, 5]}]
    text = json.dumps(records) if suffix == "json" else "\n".join(map(json.dumps, records))
    (tmp_path / f"gens.{suffix}").write_text(text)
    table = unnest([tmp_path / f"gens.{suffix}"], ["gold_scores"], samples=2)
    assert table.rows() == [
        ("gens-00000", 0, 0.5),
        ("gens-00000", 1, 1.0),
        ("gens-00001", 0, 3.0),
        ("gens-00001", 1, 4.0),
    ]
    with pytest.raises(ArtifactError, match="record 1 has no list 'proxy', but: answers, gold_scores"):
        unnest([tmp_path / f"gens.{suffix}"], ["gold_scores", "proxy"])
    records[1]["answers"] = [1.0]
    (tmp_path / "gens.json").write_text(json.dumps(records[1:]))
    with pytest.raises(ArtifactError, match="the lists of record 1 differ in length"):
        unnest([tmp_path / "gens.json"], ["gold_scores", "answers"])


def test_scores_outside_the_bounds_of_a_reward_are_named_with_row_and_key(tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    assert read_score_table(tmp_path / "t.csv", ["gold", "proxy"], {"gold": (-3, 1.5)}).height == 3
    message = r"'gold' is outside its bounds, 0 to 10: -3 \(prompt '?1'?, sample 1\), in row 2"
    with pytest.raises(ArtifactError, match=message):
        read_score_table(tmp_path / "t.csv", ["gold", "proxy"], {"gold": (0, 10)})

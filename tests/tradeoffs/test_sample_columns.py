"""Columns of samples: made from texts and token counts, or read from a user's table in any of its forms."""

import polars as pl
import pytest

from alignment_limits.errors import TableError
from alignment_limits.tables.sample_columns import sample_columns, table_columns

REFUSALS = ["I'm sorry", "as an AI"]


def written(tmp_path, **columns):
    keys = {"prompt_id": ["a", "a", "b"], "sample_id": [1, 0, 0]}
    pl.DataFrame(keys | columns).write_csv(tmp_path / "t.csv")
    return tmp_path / "t.csv"


def test_a_refusal_is_found_at_the_start_in_any_case_and_with_any_apostrophe():
    texts = ["I’M SORRY, no", "Well. As an AI, I", "x" * 200 + "I'm sorry", "Sure (a.b)", None]
    table = pl.DataFrame({"prompt_id": ["a"] * 5, "sample_id": range(5), "text": texts})
    assert sample_columns(table, REFUSALS)["refusal"].to_list() == [1.0, 1.0, 0.0, 0.0, None]
    assert sample_columns(table, [])["refusal"].to_list() == [0.0, 0.0, 0.0, 0.0, None]


def test_columns_follow_what_the_table_has(tmp_path):
    file = written(tmp_path, n_tokens=[3, None, 5], finish_reason=["stop", "length", "length"], rm=[1.0, 2, 3])
    table = table_columns(file, REFUSALS)
    assert table.columns == ["prompt_id", "sample_id", "tokens", "truncated"]
    assert table["sample_id"].to_list() == [0, 1, 0], "in key order"
    assert table["tokens"].to_list() == [None, 3.0, 5.0]
    assert table["truncated"].to_list() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_named_columns_are_numbers_or_true_and_false_in_any_format(tmp_path, form):
    table = pl.DataFrame(
        {"prompt_id": ["a", "b"], "sample_id": [0, 0], "harm": [0.5, None], "bad": [True, False], "said": ["x", None]}
    )
    file = tmp_path / f"t.{form}"
    {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[form](file)
    found = table_columns(file, [], ["harm", "bad"], ["said"])
    assert found.rows() == [("a", 0, 0.5, 1.0, "x"), ("b", 0, None, 0.0, None)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"harm": ["low", "1", "2"]}, r"'harm' is not a number \('low'\), in row 1"),
        ({"harm": [1.0, float("inf"), 2.0]}, "'harm' is infinite, in row 2"),
        ({"other": [1, 2, 3]}, "no column harm"),
    ],
)
def test_what_is_no_number_is_named(tmp_path, value, said):
    with pytest.raises(TableError, match=said):
        table_columns(written(tmp_path, **value), [], ["harm"])


def test_a_column_of_the_table_cannot_replace_one_that_is_made(tmp_path):
    file = written(tmp_path, n_tokens=[1, 2, 3], tokens=[4, 5, 6])
    with pytest.raises(TableError, match="'tokens' is a column that is made from the samples; rename"):
        table_columns(file, [], ["tokens"])


def test_a_column_that_is_made_may_be_named():
    from alignment_limits.study.load import load_study

    held = {"tradeoffs": {"length_control": {"column": "tokens"}, "side_effects": {"columns": ["tokens", "harm"]}}}
    scores = {"scores": {"table": "t.parquet", "gold": "human", "proxies": []}}
    settings = load_study({"study": "mine"} | scores | held, "mine.yaml").tradeoffs
    assert (settings.numbers, settings.of_table) == (["tokens", "harm"], ["harm"])


def test_a_named_column_that_is_made_is_not_read(tmp_path):
    file = written(tmp_path, n_tokens=[1, 2, 3], harm=[1, 0, 1])
    assert table_columns(file, [], ["tokens", "harm"]).columns == ["prompt_id", "sample_id", "tokens", "harm"]
    file = written(tmp_path, tokens=[4, 5, 6])
    assert table_columns(file, [], ["tokens"])["tokens"].to_list() == [5.0, 4.0, 6.0], "its own, where none is made"

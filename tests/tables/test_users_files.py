"""What users bring: every format gives equal tables, and every defect the same message, streamed or not."""

import gzip
import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alignment_limits.errors import AlignmentLimitsError, ArtifactError, PromptError, TableError
from alignment_limits.rewards.load import load_reward
from alignment_limits.tables.columns import Problem
from alignment_limits.tables.prompts import read_documents, read_prompts, repeats
from alignment_limits.tables.scores import read_preference_table, read_score_table, unnest
from alignment_limits.tables.streaming import prompt_key, stream_prompts
from alignment_limits.tables.user_table import read_lines, read_user_table

TEXTS = ["plain", "U+2028 \u2028 in the middle", "U+0085 \x85 and \x0c form feed", 'a "quote", a comma', "two\nlines"]
FORMATS = [
    "csv",
    "tsv",
    "jsonl",
    "ndjson",
    "json",
    "columns.json",
    "pandas.json",
    "parquet",
    "csv.gz",
    "csv.zst",
    "jsonl.gz",
]


def write(table: pl.DataFrame, file: Path) -> Path:
    """The table in the format of its name; two formats of JSON objects of columns, too."""
    name = file.name
    if name.endswith("parquet"):
        table.write_parquet(file)
        return file
    records = table.to_dicts()
    if "columns.json" in name:
        text = json.dumps(table.to_dict(as_series=False))
    elif "pandas.json" in name:
        text = json.dumps({c: {str(i): v for i, v in enumerate(table[c])} for c in table.columns})
    elif ".json" in name and "jsonl" not in name:
        text = json.dumps(records)
    elif "json" in name:  # U+2028 as it is, not as an escape
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        text = table.write_csv(separator="\t" if ".tsv" in name else ",")
    content = text.encode()
    if name.endswith(".zst"):
        pl.read_csv(content, infer_schema=False).write_csv(file, compression="zstd")
    else:
        file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return file


def scores() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {"prompt_id": np.repeat(["007", "7", "a b"], 4), "sample_id": np.tile([5, 0, 1, 2**31 - 1], 3)}
    )
    return table.with_columns(rm=rng.standard_normal(12), human=pl.Series(rng.integers(0, 2, 12)))


@pytest.mark.parametrize("name", FORMATS)
def test_scores_are_the_same_in_every_format(tmp_path, name):
    expected = scores().with_columns(pl.col("sample_id").cast(pl.Int32), pl.col("human").cast(pl.Float64))
    read = read_score_table(write(scores(), tmp_path / f"t.{name}"), ["rm", "human"])
    assert read.equals(expected.sort("prompt_id", "sample_id"))


@pytest.mark.parametrize("name", FORMATS)
def test_prompts_are_the_same_in_every_format(tmp_path, name):
    table = pl.DataFrame(
        {"prompt_id": ["01", "1", "x", "y", "z"], "text": TEXTS, "n": [1, 2, None, 4, 5], "ok": [True] * 5}
    )
    write(table, tmp_path / f"t.{name}")
    read = read_prompts(tmp_path)
    assert read["prompt_id"].to_list() == table["prompt_id"].to_list()
    assert read["text"].to_list() == TEXTS
    assert read["n"].to_list() == ["1", "2", None, "4", "5"]
    assert read["ok"].to_list() == ["true"] * 5


def test_lines_end_at_a_line_feed_alone(tmp_path):
    file = tmp_path / "t.txt"
    file.write_bytes("\ufeffone\u2028still one\r\ntwo\x85\x0c\x1estill two\n\nfour".encode())
    assert read_lines(file) == ["one\u2028still one", "two\x85\x0c\x1estill two", "", "four"]
    assert read_prompts(tmp_path)["prompt_id"].to_list() == ["t-0000", "t-0001", "t-0003"]
    (tmp_path / "t.txt").write_bytes("bad\u2028word\n".encode())
    spec = {"kind": "lexicon", "lexicon": "words", "text": "reply", "sign": 1, "source": None, "note": ""}
    words = load_reward(spec, tmp_path)
    assert words.score(["", ""], ["bad", "bad\u2028word"]).score.tolist() == [0.0, -1.0]


def test_ids_are_text_and_numbers_their_digits(tmp_path):
    table = pl.DataFrame({"prompt_id": [7, 7, 2**63 + 1], "sample_id": [0, 1, 0], "rm": [1.0, 2.0, 3.0]})
    big = str(2**63 + 1)
    csv = "\ufeffprompt_id,sample_id,rm\r\n7,0,1\r\n7,1,2\r\n" + big + ",0,3\r\n"
    (tmp_path / "t.csv").write_bytes(csv.encode())
    types = {"u": pl.UInt64, "c": pl.Categorical, "s": pl.String}
    expected = read_score_table(tmp_path / "t.csv", ["rm"])
    assert expected["prompt_id"].to_list() == ["7", "7", big]
    for name, dtype in types.items():
        ids = table["prompt_id"].cast(pl.UInt64).cast(pl.String).cast(dtype)
        table.with_columns(ids).write_parquet(tmp_path / f"{name}.parquet")
        assert read_score_table(tmp_path / f"{name}.parquet", ["rm"]).equals(expected)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in table.to_dicts()))
    assert read_score_table(tmp_path / "t.jsonl", ["rm"]).equals(expected)
    streamed = list(stream_prompts(str(tmp_path / "c.parquet"), ["rm"]))
    assert np.concatenate([p.keys for p in streamed]).tolist() == [prompt_key("7"), prompt_key(big)]


def test_an_id_that_is_a_number_and_the_same_text_is_named(tmp_path):
    rows = [{"prompt_id": 7, "sample_id": 0, "rm": 1}, {"prompt_id": "8", "sample_id": 0, "rm": 1}]
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps(r) for r in [*rows, {"prompt_id": "7", "sample_id": 1, "rm": 1}])
    )
    with pytest.raises(
        TableError, match=r"'prompt_id' is the number 7 in one row and the text '7' in another.*row 1, 3$"
    ):
        read_score_table(tmp_path / "t.jsonl", ["rm"])
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    assert read_score_table(tmp_path / "t.jsonl", ["rm"])["prompt_id"].to_list() == ["7", "8"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_column_with_nothing_in_it_is_still_text(tmp_path, name):
    empty = pl.DataFrame({"prompt_id": ["a", "b"], "note": pl.Series([None, None], dtype=pl.String)})
    note = read_user_table(write(empty, tmp_path / f"t.{name}")).anything("note")
    assert note.dtype == pl.String
    assert note.to_list() == [None, None]


@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("p.tsv", "\t")])
def test_a_text_with_the_separator_in_it_and_no_quotes_is_refused_not_cut(tmp_path, name, separator):
    rows = [["prompt_id", "text"], ["a", "one"], ["b", f'"two{separator}three"'], ["c", f"two{separator}three"]]
    (tmp_path / name).write_text("".join(separator.join(row) + "\n" for row in rows[:3]))
    assert read_prompts(tmp_path)["text"].to_list() == ["one", f"two{separator}three"]
    (tmp_path / name).write_text("".join(separator.join(row) + "\n" for row in rows))
    with pytest.raises(AlignmentLimitsError, match=rf"{name}: row 3 has 3 values, the header 2"):
        read_prompts(tmp_path)


def test_columns_nobody_asks_for_may_hold_anything(tmp_path):
    rows = [{"prompt_id": i, "text": f"t{i}", "other": 1 if i < 300 else "one"} for i in range(400)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert read_prompts(tmp_path)["other"].to_list()[299:301] == ["1", "one"]
    (tmp_path / "p.jsonl").unlink()
    lines = "".join(f"{r['prompt_id']},{r['text']},{r['other']}\n" for r in rows)
    (tmp_path / "p.csv").write_text("prompt_id,text,other\n" + lines)
    assert read_prompts(tmp_path).height == 400
    table = scores().with_columns(day=pl.lit(date(2026, 1, 1)), raw=pl.lit(b"x"), nested=pl.struct("rm"))
    table.write_parquet(tmp_path / "t.parquet")
    assert read_score_table(tmp_path / "t.parquet", ["rm"]).width == 3


NO_ID = "'sample_id' is not a whole number from 0 to 2^31 - 1"
TWICE = "the same prompt_id and sample_id occur more than once"
COMMA = "'rm' is not a number ('1,5'; write decimals with a point), in row 5"
DEFECTS = [
    ("rm", pl.Series([date(2026, 1, 1)] * 12), "'rm' contains a date or time, not numbers"),
    ("rm", pl.Series([True] * 12), "'rm' contains true or false, not numbers; write 1 and 0"),
    ("rm", pl.Series([[1.0]] * 12), "'rm' contains a list, not numbers"),
    ("rm", pl.Series([b"x"] * 12), "'rm' contains bytes, not numbers"),
    ("rm", pl.Series([{"a": 1}] * 12), "'rm' contains an object, not numbers"),
    ("rm", pl.Series([*["1.5"] * 4, "1,5", *["2"] * 7]), COMMA),
    ("rm", pl.Series([*[1.0] * 11, None]), "'rm' is missing, NaN or infinite, in row 12"),
    ("rm", pl.Series([float("nan")] * 12), "'rm' is missing, NaN or infinite, in row 1, 2, 3, 4, 5 and 7 more"),
    ("prompt_id", pl.Series([*["a"] * 11, None]), "'prompt_id' is missing, in row 12"),
    ("prompt_id", pl.Series([*["a"] * 11, ""]), "'prompt_id' is missing, in row 12"),
    ("prompt_id", pl.Series([*["a"] * 11, "b\0"]), "'prompt_id' contains a NUL character, in row 12"),
    ("prompt_id", pl.Series([1.5] * 12), "'prompt_id' contains a number, not text; give texts or whole numbers"),
    ("sample_id", pl.Series([*range(11), None]), "'sample_id' is missing, in row 12"),
    ("sample_id", pl.Series([*range(11), 2**31]), f"{NO_ID} (2147483648), in row 12"),
    ("sample_id", pl.Series([*map(float, range(11)), 0.5]), f"{NO_ID} (0.5), in row 12"),
    ("sample_id", pl.Series([-1, *range(11)]), f"{NO_ID} (-1), in row 1"),
    ("sample_id", pl.Series([*range(11), 0]), f"{TWICE} ('a', sample 0), in row 1 and 12"),
]


@pytest.mark.parametrize(("column", "values", "message"), DEFECTS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_defect_has_the_same_message_streamed_or_not(tmp_path, monkeypatch, column, values, message):
    monkeypatch.setattr("alignment_limits.tables.streaming.BATCH", 5)
    good = pl.DataFrame({"prompt_id": ["a"] * 12, "sample_id": np.arange(12), "rm": np.arange(12.0)})
    file = tmp_path / "t.parquet"
    good.with_columns(values.alias(column)).write_parquet(file, row_group_size=4)
    with pytest.raises(TableError) as whole:
        read_score_table(file, ["rm"])
    with pytest.raises(TableError) as streamed:
        list(stream_prompts(str(file), ["rm"]))
    assert str(whole.value) == str(streamed.value) == f"{file}: {message}"


def test_of_two_defects_the_same_one_is_named_streamed_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr("alignment_limits.tables.streaming.BATCH", 4)
    table = pl.DataFrame({"prompt_id": ["a"] * 12, "sample_id": [*range(11), -3], "rm": [None, *[1.0] * 11]})
    file = tmp_path / "t.parquet"
    table.write_parquet(file, row_group_size=4)
    for read in (lambda: read_score_table(file, ["rm"]), lambda: list(stream_prompts(str(file), ["rm"]))):
        with pytest.raises(TableError, match=r"'sample_id' is not a whole number .* \(-3\), in row 12$"):
            read()


def test_sample_ids_may_be_of_any_type_and_begin_anywhere(tmp_path):
    expected = None
    for name, ids in (
        ("i", pl.Series([3, 9], dtype=pl.Int8)), ("f", pl.Series([3.0, 9.0])), ("s", pl.Series(["3", "9"])),
        ("u", pl.Series([3, 9], dtype=pl.UInt64)),
    ):  # fmt: skip
        table = pl.DataFrame({"prompt_id": ["a", "a"], "sample_id": ids, "rm": ["1e-3", " 2"]})
        table.write_parquet(tmp_path / f"{name}.parquet")
        read = read_score_table(tmp_path / f"{name}.parquet", ["rm"])
        expected = read if expected is None else expected
        assert read.equals(expected)
        (streamed,) = stream_prompts(str(tmp_path / f"{name}.parquet"), ["rm"])
        assert streamed.columns[0].tolist() == [0.001, 2.0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"prompt_id,sample_id,rm,rm\na,0,1,2\n", "the column rm occurs twice"),
        ("t.csv", b"prompt_id;sample_id;rm\na;0;1\n", "separated by ';': write commas"),
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"\xef\xbb\xbf\n", "t.csv is empty"),
        ("t.jsonl", b"", "t.jsonl is empty"),
        ("t.csv", b"prompt_id,sample_id,rm\n", "t.csv has no rows"),
        ("t.json", b"[]", "has no column prompt_id"),
        ("t.json", b'{"prompt_id": ["a"], "sample_id": [0, 1], "rm": [1]}', "prompt_id has 1, sample_id has 2"),
        ("t.json", b'{"prompt_id": "a", "sample_id": 0, "rm": 1}', "an object with a list for each column"),
        ("t.json", b'{"columns": ["rm"], "index": [0], "data": [[1]]}', "orient='split'"),
        ("t.json", b'{"a": ', "cannot be read as json"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "row 2 is not an object"),
        ("t.jsonl", b'{"a": 1}\n{oops\n', "cannot be read as jsonl: line 2"),
        ("t.jsonl", b'{"a": 1, "a": 2}\n', "the key 'a' occurs twice in one object"),
        ("t.jsonl", b"[" * 100_000, "nested too deeply"),
        ("t.csv", "prompt_id,sample_id,rm\na,0,1\n".encode("utf-16"), "is UTF-16"),
        ("t.csv", "prompt_id,sample_id,rm\na,0,1\n".encode("utf-16-le"), "is UTF-16"),
        ("t.csv", "prompt_id,sample_id,rm\na,0,1\né,0,1\n".encode("latin-1"), r"is not UTF-8 \(byte 29\), in line 3"),
        ("t.csv", b"prompt_id,sample_id,rm\na,0,\x001\n", "contains a NUL character .*, in line 2"),
        ("t.csv", b"prompt_id,sample_id,rm\ra,0,1\r", r"its lines end in \\r alone"),
        ("t.csv", b"prompt_id,sample_id,rm\nb,0,1\na,0,1,2\n", "row 2 has 4 values, the header 3; put quotes"),
        ("t.csv.gz", b"no gzip", "cannot be read"),
        ("t.parquet", b"no parquet", "cannot be read as parquet"),
        ("t.xlsx", b"x", r"a table is .parquet, .csv"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_one_message(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_score_table(tmp_path / name, ["rm"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "\ud800"}, "'text' contains text with half a surrogate pair, not text; .*, in row 2"),
        ({"text": "a\0b"}, "'text' contains a NUL character, in row 2"),
        ({"text": {"a": 1}}, "'text' contains an object, not text; .*, in row 2"),
        ({"text": 1.5}, "'text' contains a number, not text; .*, in row 2"),
        ({"text": True}, "'text' contains true or false, not text; .*, in row 2"),
        ({"text": " "}, "'text' is missing, in row 2"),
        ({"text": "x", "reference": ["a"]}, "'reference' contains a list"),
        ({"text": "x", "prompt_id": None}, "'prompt_id' is missing, in row 2"),
    ],
)
def test_a_prompt_that_is_no_text_is_refused_with_file_and_row(tmp_path, row, message):
    rows = [{"text": "one", "prompt_id": "a"}, {"prompt_id": "b"} | row]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(PromptError, match="p.jsonl: " + message):
        read_prompts(tmp_path)


def test_a_struct_in_a_parquet_files_text_column_is_refused(tmp_path):
    pl.DataFrame({"text": [{"a": "x"}]}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(PromptError, match=r"p.parquet: 'text' contains an object, not text"):
        read_prompts(tmp_path)


def test_documents_are_held_to_the_same_rules(tmp_path):
    rows = [{"doc": ["a", "b"], "ref": "x"}, {"doc": ["a", "\ud800"], "ref": "y"}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    settings = {"text": "doc", "references": ["ref"], "instruction": "{document}"}
    with pytest.raises(PromptError, match="d.jsonl: 'doc' contains text with half a surrogate pair, .*, in row 2"):
        read_documents(tmp_path, **settings)
    rows[1]["doc"] = ["one \u2028", "two"]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    assert read_documents(tmp_path, **settings)["text"].to_list() == ["a b", "one \u2028 two"]


def test_nested_scores_are_read_from_an_object_of_columns(tmp_path):
    file = tmp_path / "gens.json"
    file.write_text(json.dumps({"scores": [[1, 2.5], [3, 4]], "id": ["a", "b"]}))
    assert unnest([file], ["scores"])["scores"].to_list() == [1.0, 2.5, 3.0, 4.0]
    file.write_text(json.dumps({"scores": [[1, 2], [3, None]]}))
    with pytest.raises(ArtifactError, match=r"gens.json: record 2: 'scores' is missing, NaN or infinite, in row 2"):
        unnest([file], ["scores"])


def test_a_users_pairs_may_be_json_too_and_their_ids_are_text(tmp_path):
    judged = pl.DataFrame(
        {"prompt_id": ["07", "07"], "sample_id": [0, 1], "value": [0.0, 1.0]}, schema_overrides={"sample_id": pl.Int32}
    )
    (tmp_path / "p.jsonl").write_text('{"prompt_id": "07", "chosen_id": "1", "rejected_id": 0}\n')
    pairs = read_preference_table(tmp_path / "p.jsonl", judged, gamma=1.0)
    assert pairs.row(0)[:3] == ("07", 1, 0)
    (tmp_path / "p.jsonl").write_text('{"prompt_id": "7", "chosen_id": 1, "rejected_id": 0}\n')
    with pytest.raises(ArtifactError, match="no sample of the study has this prompt_id and chosen_id, in row 1"):
        read_preference_table(tmp_path / "p.jsonl", judged, gamma=1.0)


def test_prompts_that_repeat_are_said_and_kept(tmp_path):
    (tmp_path / "p.txt").write_text("one\ntwo\none\none\n")
    table = read_prompts(tmp_path)
    assert table.height == 4
    assert repeats(table).startswith("2 of 4 prompts repeat the text of another one (first: p-0002 repeats p-0000)")
    assert repeats(table[:2]) == ""


def test_an_index_column_as_pandas_writes_it_is_left_alone(tmp_path):
    scores().with_row_index("__index_level_0__").write_parquet(tmp_path / "t.parquet")
    plain = read_score_table(write(scores(), tmp_path / "u.parquet"), ["rm"])
    assert read_score_table(tmp_path / "t.parquet", ["rm"]).equals(plain)
    text = scores().with_row_index("").write_csv()
    (tmp_path / "t.csv").write_text(text)
    assert read_score_table(tmp_path / "t.csv", ["rm"]).equals(plain)


def test_a_name_is_no_pattern(tmp_path):
    scores().rename({"rm": "^h.*$", "human": "*"}).write_parquet(tmp_path / "t.parquet")
    read = read_user_table(tmp_path / "t.parquet").read(["^h.*$", "*"])
    assert read["^h.*$"].values.dtype == pl.Float64
    assert read["*"].values.dtype == pl.Int64


def test_numbers_in_text_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(1).standard_normal(500) * 10.0 ** np.arange(-250, 250)
    table = pl.DataFrame({"prompt_id": ["a"] * 500, "sample_id": range(500), "rm": [repr(float(v)) for v in values]})
    table.write_csv(tmp_path / "t.csv")
    assert read_score_table(tmp_path / "t.csv", ["rm"])["rm"].to_list() == values.tolist()


def test_every_refusal_is_a_message_for_the_user():
    assert issubclass(TableError, AlignmentLimitsError)


def test_a_problem_of_a_part_is_one_of_the_whole_table():
    first = Problem("score", "is a number", "'x'", [1], 1).after(None, 10)
    assert first == Problem("score", "is a number", "'x'", [11], 1)
    assert Problem("score", "is a number", "'y'", [0], 2).after(first, 20) == Problem(
        "score", "is a number", "'x'", [11, 20], 3
    )

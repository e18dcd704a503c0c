"""Tables in no particular format: shapes, guessed columns, options that name them."""

import polars as pl
import pytest
from foreign import PROMPTS, pairs, reply

from alignment_limits.errors import TableError
from alignment_limits.importers.generic import LEFT_OUT

LINES = [{"question": p, "response": r, "rm": j / 4, "ok": j > 2, "model": "m"} for _, j, p, r in pairs()]
LISTS = [
    {"prompt": p, "responses": [reply(i, j) for j in range(5)], "rm": [j / 4 for j in range(5)], "note": ["a", "b"]}
    for i, p in enumerate(PROMPTS)
]
WIDE = [
    {"prompt": p} | {f"response_{j}": reply(i, j) for j in range(12)} | {f"rm_{j}": j / 4 for j in range(12)}
    for i, p in enumerate(PROMPTS)
]


def test_a_line_a_sample_a_line_a_prompt_and_wide_columns_give_the_same_samples(imports):
    lines, lists = imports(LINES), imports(LISTS)
    assert lines.provenance["guessed"] == {
        "prompt": "question",
        "reply": "response",
        "model": "model",
        "scores": "rm, ok",
    }
    assert lists.provenance["guessed"]["scores"] == "rm"
    columns = ["prompt_id", "sample_id", "rm", "prompt", "text"]
    assert lines.table.select(columns).equals(lists.table.select(columns))
    wide = imports(WIDE)
    assert wide.table.filter(prompt=PROMPTS[1])["text"].to_list() == [reply(1, j) for j in range(12)], "10 after 9"
    assert wide.table.filter(prompt=PROMPTS[1])["rm"].to_list() == [j / 4 for j in range(12)]


def test_wide_replies_may_have_one_list_of_scores(imports):
    given = [
        {k: v for k, v in line.items() if "rm" not in k} | {"marks": [*range(12)], "other": [1, 2]} for line in WIDE
    ]
    imported = imports(given)
    assert imported.provenance["guessed"]["scores"] == "marks"
    assert imported.table["marks"].to_list() == [*range(12)] * 2


def test_the_id_of_a_prompt_depends_on_its_text_alone(imports):
    one, other = imports(LINES).table, imports(LINES[::-1]).table
    assert set(one["prompt_id"]) == set(other["prompt_id"])
    assert one["prompt_id"][0].isalnum()


def test_columns_can_be_named(imports):
    given = [{"q": p, "said": r, "marks": str(j), "by": "a", "n": i} for i, j, p, r in pairs()]
    with pytest.raises(TableError, match="no column of prompts is found among 'q', 'said'.*--prompt"):
        imports(given)
    with pytest.raises(TableError, match="no column of replies is found .*--reply"):
        imports(given, prompt="q")
    table = imports(given, prompt="q", reply="said", scores=["marks"], law="by", key="n")
    assert table.table["marks"].to_list() == [0, 1, 2, 3, 4] * 2
    assert table.table["prompt_id"].to_list() == ["0"] * 5 + ["1"] * 5
    assert table.provenance["law"] == {"law": ["a"]}
    with pytest.raises(TableError, match=r"has no column 'marx' \(--score\); it has 'q', 'said'"):
        imports(given, prompt="q", reply="said", scores=["marx"])


def test_conversations_are_prompts_and_their_last_message_is_the_reply(imports):
    given = [
        {"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": r}], "rm": j}
        for _, j, p, r in pairs()
    ]
    table = imports(given).table
    assert set(table["prompt"]) == set(PROMPTS)
    assert table["text"][0].startswith("A reply")
    del given[3]["messages"][1]
    with pytest.raises(TableError, match="row 4: 'messages' does not end with the assistant's reply"):
        imports(given)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "json", "jsonl"])
def test_all_kinds_of_tables_are_read(imports, tmp_path, suffix):
    frame = pl.DataFrame(LINES)
    file = tmp_path / f"mine.{suffix}"
    if suffix in ("csv", "tsv"):
        frame.write_csv(file, separator="," if suffix == "csv" else "\t")
    else:
        {"parquet": frame.write_parquet, "json": frame.write_json, "jsonl": frame.write_ndjson}[suffix](file)
    assert imports([file]).table.drop("place").equals(imports(LINES).table.drop("place"))


def test_a_value_that_is_not_a_number_does_not_hide_a_score(imports):
    with pytest.raises(TableError, match=r"given.jsonl: row 3: 'rm' is 'bad', not a number"):
        imports([LINES[0], LINES[1], LINES[2] | {"rm": "bad"}, *LINES[3:]])


def test_a_whole_number_beyond_any_float_is_named(imports):
    with pytest.raises(TableError, match=r"given.jsonl: row 3: 'rm' is too large a number"):
        imports([LINES[0], LINES[1], LINES[2] | {"rm": 10**400}, *LINES[3:]])


def test_names_of_other_columns_are_refused_for_scores(imports):
    with pytest.raises(TableError, match="a score is named 'prompt'"):
        imports(
            [line | {"text": 1.0, "prompt": j} for j, line in enumerate(LINES)], prompt="question", scores=["prompt"]
        )


def test_a_list_that_is_too_short_in_some_rows_is_named_and_not_left_out(imports):
    given = [{**LISTS[i % 2], "prompt": f"{i}"} for i in range(6)]
    given[4] = given[4] | {"rm": [1.0] * 4}
    with pytest.raises(TableError, match="row 5: lists differ in length: 'responses' 5, 'rm' 4"):
        imports(given)
    given[4] = given[4] | {"rm": [1.0, 2.0, "high", 3.0, 4.0]}
    with pytest.raises(TableError, match=r"row 5: 'rm\.2' is text, not a number"):
        imports(given)


def test_wide_replies_with_a_list_of_another_length_are_named(imports):
    given = [{k: v for k, v in WIDE[i % 2].items() if "rm" not in k} | {"marks": [*range(12)]} for i in range(6)]
    for wrong in (11, 13):
        given[2] = given[2] | {"marks": [*range(wrong)]}
        with pytest.raises(TableError, match=f"row 3: 'marks' has {wrong} values for 12 columns of replies"):
            imports(given)


def test_numbers_that_never_fit_the_replies_are_shown_as_left_out(imports):
    lists = imports([line | {"short": [1, 2]} for line in LISTS])
    assert lists.provenance["guessed"][LEFT_OUT] == "short"
    wide = imports([{k: v for k, v in line.items() if k != "rm_11"} for line in WIDE])
    assert wide.provenance["guessed"][LEFT_OUT] == "rm_0 … rm_10"
    assert wide.provenance["guessed"]["scores"] == "none"


def test_other_separators_are_named(imports, tmp_path):
    (tmp_path / "mine.csv").write_text("prompt;reply;rm\na;b;1\n")
    with pytest.raises(TableError, match="separated by ';': write commas"):
        imports([tmp_path / "mine.csv"])

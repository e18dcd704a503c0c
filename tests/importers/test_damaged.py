"""Damaged files of every format: cut, with wrong types, inconsistent. The message names file, row and field."""

import json

import foreign
import polars as pl
import pytest
import yaml
from foreign import EXAMPLES

from alignment_limits.errors import TableError

# per format: the file to damage, the field that gets a wrong type, and the value
WRONG = {
    "generic": ("mine.jsonl", "prompt", 7),
    "lm-eval": ("org__model/samples_sums_2026-01-01T00-00-00.0.jsonl", "resps", [["a", 7]]),
    "openai-batch": ("replies.jsonl", "response", "text"),
    "open-instruct-traces": ("run_rollouts_000000.jsonl", "response_tokens", [1, "2"]),
    "open-instruct-rejection": ("scores.jsonl", "score", {"org/rm": "high"}),
    "verl": ("1.jsonl", "score", "high"),
    "rewardbench-2": ("rb2.jsonl", "chosen", "text"),
    "ppe": ("ppe.jsonl", "scores", [True, False]),
    "rm-ensembles": ("gens.json", "gold_scores", [1, 2]),
    "ultrafeedback": ("uf.jsonl", "completions", [{"model": "a", "response": None}]),
    "distilabel": ("labels.jsonl", "generations", "text"),
    "alpaca-eval": ("annotations.json", "preference", 3.5),
}
# per format: fields that make the second record inconsistent with the others
MIXED = {
    "generic": {"score": "high"},
    "lm-eval": {"arguments": None},
    "openai-batch": {"custom_id": "of another batch"},
    "open-instruct-traces": {"step": 1.5},
    "open-instruct-rejection": {"messages": [{"content": "no role"}]},
    "verl": {"step": True},
    "rewardbench-2": {"rejected": None},
    "ppe": {"response_4": 5},
    "rm-ensembles": {"answers": ["one"]},
    "ultrafeedback": {"completions": "text"},
    "distilabel": {"ratings": ["high"] * 4, "generations": [1, 2, 3, 4]},
    "alpaca-eval": {"output_2": 7},
}


def change(file, fields, at):
    text = file.read_text("utf-8")
    records = [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
    records[at] |= fields
    if file.suffix == ".jsonl":
        foreign.jsonl(file, records)
    else:
        file.write_text(json.dumps(records), "utf-8")


@pytest.mark.parametrize("name", WRONG)
def test_a_field_of_another_type_is_named_with_file_and_row(name, imports, tmp_path):
    files = EXAMPLES[name](tmp_path)
    file, field, value = WRONG[name]
    change(tmp_path / file, {field: value}, at=1)
    with pytest.raises(TableError) as error:
        imports(files, name)
    assert str(tmp_path / file) in str(error.value)
    assert "row 2" in str(error.value)
    assert field in str(error.value)


@pytest.mark.parametrize("name", MIXED)
def test_records_that_do_not_fit_the_others_are_named(name, imports, tmp_path):
    files = EXAMPLES[name](tmp_path)
    file, _, _ = WRONG[name]
    change(tmp_path / file, MIXED[name], at=1)
    with pytest.raises(TableError, match=rf"{tmp_path / file}: row 2: .*'") as error:
        imports(files, name)
    assert any(field in str(error.value) for field in MIXED[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_cut_file_is_named(name, imports, tmp_path):
    files = EXAMPLES[name](tmp_path)
    names = {f for f in tmp_path.rglob("*") if f.is_file()} if files[0].is_dir() else set(files)
    data = max((f for f in names if not f.name.startswith("results")), key=lambda f: (f.stat().st_size, f.name))
    content = data.read_bytes()
    data.write_bytes(content[: len(content) - 70])
    with pytest.raises(TableError, match=str(data)):
        imports(files, name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"completion": [1]}, "'completion.0' is not a message with role and content"),
        ({"prompt": None}, "'prompt' is missing"),
        ({"step": 0.5}, "'step' is a number, not a text or a whole number"),
    ],
)
def test_a_log_of_trl_with_wrong_columns_is_named(imports, tmp_path, fields, message):
    files = EXAMPLES["trl"](tmp_path)
    file = files[0] / "completions_00001.parquet"
    table = pl.read_parquet(file)
    table.with_columns(**{k: pl.Series([v] * table.height) for k, v in fields.items()}).write_parquet(file)
    with pytest.raises(TableError) as error:
        imports(files, "trl")
    assert str(error.value).startswith(f"{file}: row 1: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": ["one"]}, r"lists differ in length: 'samples' 1, 'is_corrects' 5"),
        ({"is_corrects": ["yes"] * 5}, r"'is_corrects.0' is text, not a number"),
        ({"samples": "text"}, r"'samples' is text, not a list"),
    ],
)
def test_a_problem_of_repeated_sampling_with_wrong_lists_is_named(imports, tmp_path, change, message):
    files = EXAMPLES["monkeys"](tmp_path)
    file = files[0] / "1.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change))
    with pytest.raises(TableError, match=rf"{file}: row 1: .*{message}"):
        imports(files, "monkeys")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": None}, "'epoch' is missing"),
        ({"scores": {"match": {"value": "B"}}}, "'scores.match.value' is 'B', not a number; choose other scores"),
        ({"output": {"choices": [{"message": "text"}]}}, "'output.choices.0.message' is text, not an object"),
        ({"input": 7}, "'input' is a whole number, not text"),
    ],
)
def test_a_sample_of_inspect_with_wrong_fields_is_named(imports, tmp_path, change, message):
    members = foreign.inspect_members()
    members["samples/s1_epoch_2.json"] |= change
    files = foreign.archive(tmp_path / "log.eval", members)
    with pytest.raises(TableError) as error:
        imports(files)
    assert f"{files[0]}: samples/s1_epoch_2.json: row 7: {message}" in str(error.value)


def test_a_damaged_member_and_an_archive_of_something_else_are_named(imports, tmp_path):
    files = foreign.archive(tmp_path / "log.eval", foreign.inspect_members(), "zstd")
    content = bytearray(files[0].read_bytes())
    at = content.index(b"samples/s0_epoch_3.json") + 40
    content[at : at + 40] = bytes(40)
    files[0].write_bytes(content)
    with pytest.raises(TableError, match=r"log.eval: samples/s0_epoch_3.json is damaged"):
        imports(files)
    with pytest.raises(TableError, match=r"neither header.json nor _journal/start.json"):
        imports(foreign.archive(tmp_path / "log.eval", {"a.json": 1}))


def test_files_of_different_formats_are_not_mixed(imports, tmp_path):
    with pytest.raises(TableError, match=r"different formats \(.*1.jsonl: verl; .*ppe.jsonl: ppe\)"):
        imports(foreign.verl(tmp_path) + foreign.ppe(tmp_path))


def test_an_empty_folder_an_unknown_suffix_and_a_file_given_twice_are_refused(imports, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="has no file that can be imported"):
        imports([tmp_path / "empty"])
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(TableError, match=r"a file is one of .*, not '.docx'"):
        imports([tmp_path / "notes.docx"])
    files = foreign.verl(tmp_path)
    with pytest.raises(TableError, match="is given twice"):
        imports([*files, *files])
    with pytest.raises(TableError, match="does not exist"):
        imports([tmp_path / "lost.jsonl"])


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("header.json", 7, "header.json is not an object"),
        ("samples/s0_epoch_1/attachments/0.json", None, "attachments/0.json is not a list"),
    ],
)
def test_members_of_another_type_are_named(imports, tmp_path, member, value, message):
    members = foreign.inspect_members(parts=True) | {member: value}
    with pytest.raises(TableError, match=message):
        imports(foreign.archive(tmp_path / "log.eval", members))


def test_half_a_surrogate_pair_becomes_a_question_mark(imports, tmp_path):
    files = foreign.ppe(tmp_path)
    change(files[0], {"model_name": "\ud800"}, at=0)
    assert imports(files).provenance["law"]["model"] == ["?", "m"]


def test_token_ids_beyond_any_vocabulary_are_refused(imports, tmp_path):
    files = foreign.traces(tmp_path)
    change(files[0], {"response_tokens": [10**30]}, at=2)
    with pytest.raises(TableError, match=r"row 3: 'response_tokens.0' is a whole number, not a token id"):
        imports(files)


@pytest.mark.parametrize(
    ("name", "field", "value"), [("verl", "acc", "high"), ("distilabel", "ratings", [1, 2, "high", 4])]
)
def test_a_text_among_numbers_does_not_hide_a_score(name, field, value, imports, tmp_path):
    files = EXAMPLES[name](tmp_path)
    change(tmp_path / WRONG[name][0], {field: value}, at=1)
    with pytest.raises(TableError, match=rf"row 2: '{field}[.\d]*' is text, not a number"):
        imports(files, name)


def test_half_a_surrogate_pair_in_a_part_of_a_message_becomes_a_question_mark(imports, tmp_path):
    members = foreign.inspect_members()
    message = members["samples/s0_epoch_1.json"]["output"]["choices"][0]["message"]
    message["content"] = [{"type": "text", "text": "a \ud800"}, {"type": "im\ud800"}]
    table = imports(foreign.archive(tmp_path / "log.eval", members), "inspect").table
    assert table["text"][0] == "a ?[im?]"


def test_names_that_no_file_can_contain_have_question_marks(imports, tmp_path):
    files = EXAMPLES["lm-eval"](tmp_path)
    for results in files[0].glob("results_*.json"):
        results.write_text('{"model_name": "org/\\ud800", "results": {}}')
    assert imports(files, "lm-eval").provenance["law"]["model"] == ["org/?"]
    odd = tmp_path / b"b\xff d.jsonl".decode(errors="surrogateescape")
    EXAMPLES["generic"](tmp_path)[0].rename(odd)
    imported = imports([odd], "generic")
    assert imported.provenance["files"][0]["file"] == "b? d.jsonl"
    assert imported.table["place"][0].endswith("b? d.jsonl: row 1")

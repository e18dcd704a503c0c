"""Documents as prompts: nested columns, references, what is refused."""

import json

import polars as pl
import pytest

from alignment_limits.errors import PromptError
from alignment_limits.tables.prompts import read_documents

ROWS = [
    {"id": f"p{i}", "sentences": {"abstract": [f"First\n {i}.", "Second."]}, "summary": {"a": f"A{i}", "b": f"B\n{i}"}}
    for i in range(3)
]
SETTINGS = {
    "text": "sentences.abstract",
    "references": ["summary.a", "summary.b"],
    "instruction": "Sum up {document}",
    "id": "id",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "papers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    return tmp_path


def test_nested_columns_become_prompts_with_one_line_a_reference(folder):
    row = read_documents(folder, **SETTINGS).row(2, named=True)
    assert row["text"] == "Sum up First\n 2. Second."  # as it stands, where the model reads it
    assert row["document"] == "First 2. Second."
    assert row["reference"] == "A2\nB 2"
    assert (row["prompt_id"], row["category"]) == ("p2", "papers")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_flat_tables_need_no_id(tmp_path, suffix):
    table = pl.DataFrame({"post": ["one two", "three"], "tldr": ["x", "y"]})
    write = {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[suffix]
    write(tmp_path / f"tldr.{suffix}")
    read = read_documents(tmp_path, text="post", references=["tldr"], instruction="{document} TL;DR:")
    assert read["prompt_id"].to_list() == ["tldr-00000", "tldr-00001"]
    assert read["text"].to_list() == ["one two TL;DR:", "three TL;DR:"]


def test_long_documents_are_left_out(folder):
    (folder / "long.jsonl").write_text(json.dumps(ROWS[0] | {"id": "x", "sentences": {"abstract": ["word"] * 9}}))
    kept = read_documents(folder, **SETTINGS, max_words=8)["prompt_id"].to_list()
    assert kept == ["p0", "p1", "p2"]
    with pytest.raises(PromptError, match="more than documents.max_words = 2"):
        read_documents(folder, **SETTINGS, max_words=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "abstract"}, "no column 'abstract', but: id, sentences, summary"),
        ({"references": ["summary.c"]}, "no column 'summary.c' in row 1"),
    ],
)
def test_missing_columns_are_named(folder, change, message):
    with pytest.raises(PromptError, match=message):
        read_documents(folder, **SETTINGS | change)


def test_an_empty_reference_is_named_with_its_row(folder):
    rows = [*ROWS[:2], ROWS[2] | {"summary": {"a": " ", "b": "B"}}]
    (folder / "papers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(PromptError, match=r"papers.jsonl: 'summary.a' in row 3 is empty"):
        read_documents(folder, **SETTINGS)

"""Prompts: what is read, which are chosen, what is refused."""

import polars as pl
import pytest

from alignment_limits.errors import PromptError
from alignment_limits.tables.prompts import choose_prompts, read_prompts


@pytest.fixture
def folder(tmp_path):
    for name, n in (("insult", 30), ("threat", 20), ("praise", 5)):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{name} number {i}" for i in range(n)), "utf-8")
    return tmp_path


def test_text_files_give_ids_from_file_and_line(folder):
    table = read_prompts(folder)
    assert table.height == 55
    assert table.filter(pl.col("prompt_id") == "threat-0007")["text"].item() == "threat number 7"


def test_the_choice_is_even_over_categories(folder):
    chosen = choose_prompts(read_prompts(folder), 12, 0, "category")
    assert chosen["category"].value_counts()["count"].to_list() == [4, 4, 4]


def test_a_larger_choice_begins_with_the_smaller_one(folder):
    table = read_prompts(folder)
    small, large = choose_prompts(table, 10, 3, "category"), choose_prompts(table, 40, 3, "category")
    assert large["prompt_id"][:10].to_list() == small["prompt_id"].to_list()


def test_the_choice_depends_on_the_seed_and_not_on_the_files_order(folder):
    table = read_prompts(folder)
    assert (
        choose_prompts(table, 20, 0, None)["prompt_id"].to_list()
        != choose_prompts(table, 20, 1, None)["prompt_id"].to_list()
    )
    shuffled = table.sample(fraction=1, shuffle=True, seed=5)
    assert choose_prompts(shuffled, 20, 0, "category").equals(choose_prompts(table, 20, 0, "category"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_tables_bring_their_own_ids_and_references(tmp_path, suffix):
    table = pl.DataFrame({"prompt_id": ["a", "b"], "document": ["x", "y"], "reference": ["s", None]})
    write = {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[suffix]
    write(tmp_path / f"docs.{suffix}")
    read = read_prompts(tmp_path, "document")
    assert read["prompt_id"].to_list() == ["a", "b"]
    assert read["text"].to_list() == ["x", "y"]
    assert read["reference"].to_list() == ["s", None]


def test_further_columns_are_kept_as_text(tmp_path):
    rows = {"question": ["1 + 1?", "2 + 2?"], "answer": [2, 4], "tests": [["f(1)", "é"], None], "text": ["not", "it"]}
    pl.DataFrame(rows).write_ndjson(tmp_path / "sums.jsonl")
    (tmp_path / "more.csv").write_text("question,answer,level\n3 + 3?,six,hard\n")
    read = read_prompts(tmp_path, "question")
    assert read["text"].to_list() == ["3 + 3?", "1 + 1?", "2 + 2?"]
    assert read["answer"].to_list() == ["six", "2", "4"]
    assert read["tests"].to_list() == [None, '["f(1)", "é"]', None]
    assert read["level"].to_list() == ["hard", None, None]


def test_bad_files_are_named_with_the_row(tmp_path):
    def refused(name, content, message):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(PromptError, match=message):
            read_prompts(tmp_path)
        file.unlink()

    refused("a.txt", b"", "a.txt is empty")
    refused("a.txt", "caf\xe9".encode("latin-1"), r"a.txt is not UTF-8 \(byte 3\)")
    refused("a.csv", b"prompt_id,text\nx,one\nx,two\n", r"'x' occurs 2 times \(a.csv row 1, a.csv row 2\)")
    refused("a.csv", b"prompt_id,text\nx,one\ny,\n", "'text' is missing, in row 2")
    refused("a.csv", b"prompt_id,text\n,one\n", "'prompt_id' is missing, in row 1")
    refused("a.csv", b"prompt_id,prompt\nx,one\n", "no column 'text', but: prompt_id, prompt")
    refused("a.jsonl", b"{not json\n", "a.jsonl cannot be read as jsonl")
    refused("a.md", b"x", "no prompt file")


def test_asking_for_too_many_or_an_unknown_stratum_is_refused(folder):
    table = read_prompts(folder)
    with pytest.raises(PromptError, match="prompts.count is 100, but the source has only 55"):
        choose_prompts(table, 100, 0, None)
    with pytest.raises(PromptError, match=r"prompts.stratify_by: no column 'topic'"):
        choose_prompts(table, 5, 0, "topic")

"""A user's table of samples: what is read, and what is refused with its rows."""

import json
from pathlib import Path

import polars as pl
import pytest

from alignment_limits.errors import PromptError, TableError
from alignment_limits.tables.sample_table import divide, read_prompts_of, read_replies, read_sample_table
from alignment_limits.tables.schemas.samples import SAMPLES

ROWS = [
    {"prompt_id": f"q{i}", "sample_id": j, "text": f" reply {j}", "prompt": f"question {i}", "token_ids": [i, j, 7]}
    | {"logprob": -1.5 - j, "finish_reason": "stop" if j else "length", "seed": 2**62 + j, "answer": str(i)}
    for i in range(3)
    for j in range(2 + i)
]


def written(folder: Path, format: str, rows=ROWS) -> Path:
    file = folder / f"mine.{format}"
    if format == "csv":
        pl.DataFrame([row | {"token_ids": json.dumps(row["token_ids"])} for row in rows]).write_csv(file)
    elif format == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    else:
        pl.DataFrame(rows).write_parquet(file)
    return file


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_samples_and_prompts(tmp_path, format):
    file = written(tmp_path, format, ROWS[::-1])
    samples = read_sample_table(file, {"token_ids": "a reason"})
    assert samples.columns == list(SAMPLES.columns)
    assert samples.rows(named=True) == [
        {k: row[k] for k in ("prompt_id", "sample_id", "text", "token_ids")}
        | {"n_tokens": 3, "logprob": row["logprob"], "finish_reason": row["finish_reason"], "seed": row["seed"]}
        for row in ROWS
    ]
    prompts = read_prompts_of(file, samples, ["answer"])
    assert prompts.select("prompt_id", "text", "prompt", "answer").rows() == [
        (f"q{i}", f"question {i}", f"question {i}", str(i)) for i in range(3)
    ]


def test_only_the_key_and_the_text_are_needed(tmp_path):
    file = written(tmp_path, "parquet", [{k: row[k] for k in ("prompt_id", "sample_id", "text")} for row in ROWS])
    samples = read_sample_table(file)
    assert samples["token_ids"].null_count() == samples["logprob"].null_count() == samples.height
    with pytest.raises(TableError, match=r"no column prompt.*samples\.prompts"):
        read_prompts_of(file, samples)
    (tmp_path / "prompts.jsonl").write_text("\n".join(f'{{"prompt_id": "q{i}", "text": "ask {i}"}}' for i in range(9)))
    prompts = read_prompts_of(file, samples, prompts=tmp_path / "prompts.jsonl")
    assert prompts["prompt"].to_list() == ["ask 0", "ask 1", "ask 2"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": None}, r"'text' is missing; leave the sample out, .*in row 2"),
        ({"prompt_id": "q1", "sample_id": 1}, r"more than once \('q1', sample 1\), in row 2 and 4"),
        ({"token_ids": [1, -5]}, r"'token_ids' is not a list of whole numbers from 0, in row 2"),
        ({"token_ids": None}, r"'token_ids' is missing, and this study needs it: KLs, in row 2"),
        ({"n_tokens": 4}, r"'n_tokens' is not the number of 'token_ids', in row 2"),
        ({"logprob": 0.5}, r"'logprob' is above 0.*in row 2"),
        ({"logprob": "often"}, r"'logprob' (is not a number|contains text)"),
    ],
)
def test_a_bad_row_is_named(tmp_path, format, change, said):
    rows = [row | {"n_tokens": 3} for row in ROWS]
    rows[1] |= change
    if format == "parquet" and change.get("logprob") == "often":
        rows = [row | {"logprob": str(row["logprob"])} for row in rows]
    if format == "csv" and change.get("token_ids", 0) is None:
        pytest.skip("JSON null in a CSV file is a missing list as well")
    with pytest.raises(TableError, match=said):
        read_sample_table(written(tmp_path, format, rows), {"token_ids": "KLs"})


def test_two_prompts_under_one_id_are_refused(tmp_path):
    rows = [*ROWS]
    rows[3] = rows[3] | {"prompt": "another question"}
    file = written(tmp_path, "jsonl", rows)
    with pytest.raises(TableError, match=r"prompt 'q1' has two values of 'prompt', in row 3 and 4"):
        read_prompts_of(file, read_sample_table(file))


def test_a_missing_prompt_is_named(tmp_path):
    file = written(tmp_path, "parquet")
    (tmp_path / "prompts.csv").write_text("prompt_id,text\nq0,ask\nq2,ask again\n")
    with pytest.raises(PromptError, match=r"lacks 1 of the 3 prompts of mine.parquet, the first is 'q1'"):
        read_prompts_of(file, read_sample_table(file), prompts=tmp_path / "prompts.csv")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_conversations_are_prompts(tmp_path, format):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    rows = [row | {"prompt": json.dumps(talk) if format == "csv" else talk} for row in ROWS]
    file = written(tmp_path, format, rows)
    prompts = read_prompts_of(file, read_sample_table(file))
    assert json.loads(prompts["messages"][0]) == talk
    assert prompts["text"][0] == "System: Be brief.\n\nUser: Hello"
    bad = [row | {"prompt": json.dumps(talk[:1]) if format == "csv" else talk[:1]} for row in ROWS]
    with pytest.raises(TableError, match="'prompt' of prompt 'q0' ends with the role 'system'"):
        read_prompts_of(written(tmp_path, format, bad), read_sample_table(file))


def test_a_model_may_write_anything(tmp_path):
    texts = ["", "\0", "line\nline", " ", "\u2028", "null", "NaN"]
    rows = [{"prompt_id": "q", "sample_id": j, "text": text} for j, text in enumerate(texts)]
    assert read_sample_table(written(tmp_path, "jsonl", rows))["text"].to_list() == texts


def test_every_prompt_is_in_one_part_with_all_its_samples(tmp_path):
    file = written(tmp_path, "parquet")
    samples = read_sample_table(file)
    prompts = read_prompts_of(file, samples)
    parts = list(divide(prompts, samples, 3))
    assert pl.concat([drawn for _, drawn in parts]).equals(samples)
    assert all(set(own["prompt_id"]) == set(drawn["prompt_id"]) for own, drawn in parts)
    with pytest.raises(TableError, match=r"set samples\.parts to a number up to 3"):
        list(divide(prompts, samples, 4))


ASKED = pl.DataFrame({"prompt_id": ["q1", "q2", "q3"], "prompt": ["Wie heißt du?", "two?", "two?"]})


def test_replies_of_a_policy_have_a_prompt_by_its_id_or_its_text(tmp_path):
    pl.DataFrame({"prompt_id": ["q3", "q1", "q3"], "text": ["a", "", "b"]}).write_parquet(tmp_path / "a.parquet")
    found = read_replies(tmp_path / "a.parquet", ASKED)
    assert found.select("prompt_id", "sample_id", "text").rows() == [("q1", 0, ""), ("q3", 0, "a"), ("q3", 1, "b")]
    assert found.columns == list(SAMPLES.columns)
    pl.DataFrame({"prompt": ["two?", "Wie heißt du?"], "text": ["a", "b"]}).write_csv(tmp_path / "b.csv")
    assert read_replies(tmp_path / "b.csv", ASKED)["prompt_id"].to_list() == ["q1", "q2"], "the first with this text"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a"}], "mine.jsonl has no column prompt_id"),
        ([{"prompt_id": "q1"}], "mine.jsonl has no column text"),
        ([{"prompt_id": "q1", "text": None}], "'text' is missing; .*in row 1"),
        ([{"prompt_id": "q1", "text": "a"}, {"prompt_id": "q9", "text": "a"}], "1 of 2 rows are not .*row 2.*'q9'"),
        ([{"prompt": "Three?", "text": "a"}], "no row is of a prompt of the study, the first in row 1.*'Three\\?'"),
        ([{"prompt_id": None, "text": "a"}], "'prompt_id' is missing"),
        ([{"prompt": None, "text": "a"}], "no row is of a prompt of the study"),
    ],
)
def test_replies_that_cannot_be_placed_are_named(tmp_path, rows, said):
    with pytest.raises(TableError, match=said):
        read_replies(written(tmp_path, "jsonl", rows), ASKED)

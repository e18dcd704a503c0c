"""Each format: it is recognised, becomes one table with its scores, and damaged files are named with row and field."""

import json

import foreign
import polars as pl
import pytest
from foreign import EXAMPLES, PROMPTS, jsonl, reply

from alignment_limits.errors import TableError
from alignment_limits.importers.formats import FORMATS
from alignment_limits.importers.imported import IMPORTED
from alignment_limits.tables.artifacts import write_table


def test_every_format_has_an_example():
    assert EXAMPLES.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_recognised_and_becomes_a_table_of_samples(name, imports, tmp_path):
    imported = imports(EXAMPLES[name](tmp_path))
    assert imported.provenance["format"] == name
    table = imported.table
    assert table["prompt_id"].n_unique() == 2
    per_prompt = table.group_by("prompt_id").agg(pl.col("sample_id").sort())
    assert all(ids.to_list() == list(range(len(ids))) for ids in per_prompt["sample_id"])
    if name != "open-instruct-traces":
        assert set(table["prompt"].unique()) <= {
            *PROMPTS,
            *(f"user\n{p}" for p in PROMPTS),
            *(f"Answer.\n{p}" for p in PROMPTS),
        }
        assert reply(1, 1) in " ".join(table["text"])
    write_table(table, tmp_path / "out.parquet", IMPORTED, {"import": imported.provenance})


def test_filters_of_lm_eval_are_scores_of_one_set_of_replies(imports, tmp_path):
    imported = imports(EXAMPLES["lm-eval"](tmp_path))
    table = imported.table
    assert table.height == 10, "2 documents in 5 runs; 2 filters of each"
    assert table.filter(prompt_id="sums/1")["exact_match,strict-match"].to_list() == [0, 1, 0, 1, 0]
    assert imported.provenance["law"] == {"model": ["org/model"], "temperature": ["0.7"], "max_tokens": ["64"]}


def test_answers_are_kept_for_majority_votes(imports, tmp_path):
    table = imports(EXAMPLES["lm-eval"](tmp_path)).table
    assert table.filter(prompt_id="sums/1")["answer"].to_list() == [None, "4", None, "4", None], "of the first filter"
    sample = foreign.inspect_sample(0, 1)
    sample["scores"] = {"tone": {"value": 1.0}, "match": {"value": "C", "answer": "Loire"}}
    log = foreign.inspect_header() | {"samples": [sample, foreign.inspect_sample(0, 2)]}
    (tmp_path / "log.json").write_text(json.dumps(log), "utf-8")
    found = imports([tmp_path / "log.json"]).table
    assert "Loire" in found["answer"].to_list()


def test_replies_of_lm_eval_that_share_one_score_lack_it(found, imports, tmp_path):
    records = foreign.lm_eval_records(filters=("majority",))
    for record in records:
        record["resps"] = [[reply(record["doc_id"], j) for j in range(5)]]
    files = jsonl(tmp_path / "samples_sums_2026-01-01T00-00-00.0.jsonl", records)
    assert imports(files).table["exact_match"].null_count() == 10
    assert found(files)["shared-scores"].count == 10
    for record in records:
        record["exact_match"] = [1.0, 0.0, 1.0, 0.0, 0.0]
    assert imports(jsonl(files[0], records)).table["exact_match"].sum() == 4


def test_log_likelihoods_of_choices_are_not_samples(imports, tmp_path):
    records = foreign.lm_eval_records()
    records[0]["resps"] = [[["-1.5", "False"]], [["-0.5", "True"]]]
    with pytest.raises(TableError, match=r"row 1: 'resps' has no generated text"):
        imports(jsonl(tmp_path / "samples_mc_2026-01-01T00-00-00.0.jsonl", records))


@pytest.mark.parametrize("method", ["deflated", "zstd"])
@pytest.mark.parametrize("parts", [False, True])
def test_both_shapes_of_inspect_logs_give_the_same_samples(imports, tmp_path, method, parts):
    whole = foreign.archive(tmp_path / "log.eval", foreign.inspect_members(parts=parts), method)
    document = foreign.inspect_header() | {
        "samples": [foreign.inspect_sample(i, e) for i in range(2) for e in range(5, 0, -1)]
    }
    for sample in document["samples"]:
        sample["input"], sample["attachments"] = "attachment://ab12", {"ab12": sample["input"][0]["content"]}
    (tmp_path / "log.json").write_text(json.dumps(document), "utf-8")
    one, other = imports(whole).table, imports([tmp_path / "log.json"]).table
    assert one.drop("place").equals(other.drop("place"))
    assert one.filter(prompt_id="rivers/s0")["judge/tone"].to_list() == [0.5, 1, 1.5, 2, 2.5], "in the order of epochs"
    assert one["match"].sum() == 6
    assert one["logprob"].to_list() == [-2.0] * 10


def test_errors_and_scores_that_inspect_could_not_give_are_counted(found, imports, tmp_path):
    members = foreign.inspect_members()
    members["samples/s0_epoch_1.json"]["error"] = {"message": "timeout", "traceback": ""}
    members["samples/s0_epoch_2.json"]["scores"]["match"]["value"] = float("nan")
    files = foreign.archive(tmp_path / "log.eval", members)
    findings = found(files)
    assert findings["errors"].count == findings["failed-judgements"].count == 1
    assert "timeout: 1" in findings["errors"].examples
    assert imports(files).table.height == 9
    members["header.json"]["status"] = "cancelled"
    assert found(foreign.archive(tmp_path / "log.eval", members))["unfinished-log"].severity == "refused"


def test_a_batch_without_its_requests_shows_each_custom_id_as_a_prompt(imports, tmp_path):
    requests, replies = EXAMPLES["openai-batch"](tmp_path)
    alone = imports([replies])
    assert alone.table["prompt_id"].n_unique() == 10
    assert "give the batch's file of requests" in alone.provenance["guessed"]["prompts"]
    assert "few-replies" in [f.name for f in alone.refused]
    with pytest.raises(TableError, match="requests alone"):
        imports([requests])


@pytest.mark.parametrize(
    ("response", "error", "reason"),
    [
        ({"status_code": 429, "body": None}, None, "HTTP status 429"),
        ({"status_code": 200, "body": {"error": {"message": "content filter"}}}, None, "content filter"),
        ({"status_code": 400, "body": {"error": {"message": "too long"}}}, None, "400: too long"),
        (None, {"code": "batch_expired", "message": None}, "batch_expired"),
        ({"status_code": 200, "body": {"choices": []}}, None, "no choices in the reply"),
    ],
)
def test_failed_requests_of_a_batch_are_errors(found, edited, tmp_path, response, error, reason):
    files = EXAMPLES["openai-batch"](tmp_path)

    def fail(i, record):
        if i == 0:
            record["response"], record["error"] = response, error

    edited(files[1], fail)
    findings = found(files)
    assert findings["errors"].examples == (f"{reason}: 1",)
    assert (findings["errors"].count, findings["errors"].of) == (1, 10)


def test_completions_and_responses_of_other_endpoints_are_read(imports, edited, tmp_path):
    files = EXAMPLES["openai-batch"](tmp_path)

    def change(i, record):
        body = record["response"]["body"]
        text = body.pop("choices")[0]["message"]["content"]
        if i % 2:
            logprobs = {"token_logprobs": [-1.0, -2.0], "tokens": ["a", "b"]}
            body["choices"] = [{"text": text, "finish_reason": "length", "logprobs": logprobs, "token_ids": [1, 2]}]
        else:
            parts = [{"type": "output_text", "text": text}]
            body["output"] = [{"type": "reasoning", "summary": []}, {"type": "message", "content": parts}]
            body |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}

    edited(files[1], change)
    table = imports(files).table
    assert set(table["finish_reason"]) == {"length"}
    assert table["logprob"].drop_nulls().to_list() == [-3.0] * 5
    assert sorted(table["text"])[0] == reply(0, 0)


def test_the_reference_of_rejection_sampling_is_not_a_sample(imports, tmp_path):
    files = EXAMPLES["open-instruct-rejection"](tmp_path)
    assert "reference-replies" in [f.name for f in imports(files).refused]
    kept = imports(files, keep=["origin=model"], accept=["failed-judgements"])
    assert kept.refused == []
    assert kept.table.height == 10
    assert "the reference" not in kept.table["text"].to_list()
    assert kept.table["gpt-4"].null_count() == 1


def test_steps_of_a_run_are_refused_until_one_is_kept(imports, tmp_path):
    for files in (
        foreign.verl(tmp_path, (1, 2, 10)),
        foreign.trl(tmp_path, (1, 2)),
        foreign.traces(tmp_path, (1, 2)),
    ):
        mixed = imports(files)
        assert "several-steps" in [f.name for f in mixed.refused]
        with pytest.raises(TableError, match="--keep step=N"):
            mixed.check()
        one = imports(files, keep=["step=1"])
        assert one.refused == []
        assert one.table.height == 10


def test_a_batch_that_trl_logged_at_two_steps_is_found(found, tmp_path):
    out = foreign.trl(tmp_path, (1,))[0]
    again = pl.read_parquet(out / "completions_00001.parquet").with_columns(step=pl.lit(2))
    again.write_parquet(out / "completions_00002.parquet")
    assert found([out])["repeated-groups"].count == 4


def test_traces_without_a_prompt_of_equal_rewards_were_filtered(found, edited, tmp_path):
    files = EXAMPLES["open-instruct-traces"](tmp_path)
    assert "dropped-prompts" not in found(files), "one prompt has equal rewards"
    edited(files[0], lambda i, record: record.update(reward=float(i % 2)))
    assert found(files)["dropped-prompts"].severity == "refused"


def test_preferences_of_alpaca_eval_are_probabilities_against_the_baseline(imports, tmp_path):
    table = imports(EXAMPLES["alpaca-eval"](tmp_path)).table
    assert table.filter(prompt=PROMPTS[0])["judge"].to_list() == [None, 0.25, 0.5, 0.75, 1.0]
    outputs = [{"instruction": p, "output": "x", "generator": "m"} for p in PROMPTS]
    (tmp_path / "outputs.json").write_text(json.dumps(outputs))
    assert [f.name for f in imports([tmp_path / "outputs.json"]).refused] == ["few-replies"]


def test_scores_of_a_reward_model_on_rewardbench_are_read(imports, tmp_path):
    columns = {
        "text": [[reply(i, j) for j in range(4)] for i in range(2)],
        "scores": [[[1.5], [0.5], [0.1], [0.2]]] * 2,
    }
    columns |= {"id": ["a", "b"], "subset": ["Ties", "Ties"], "num_correct": [2, 1], "results": [1, 1]}
    (tmp_path / "scores.json").write_text(json.dumps(columns | {"model": "org/rm", "model_type": "Seq. Classifier"}))
    imported = imports([tmp_path / "scores.json"])
    assert imported.provenance["format"] == "rewardbench-2"
    assert imported.table["correct"].to_list() == [1, 1, 0, 0, 1, 0, 0, 0]
    assert imported.table["org/rm"].sum() == pytest.approx(4.6)
    assert "selected-replies" in [f.name for f in imported.refused]


def test_a_saved_data_set_is_read_in_the_order_of_its_state(imports, tmp_path):
    import datasets  # only here: it takes seconds

    rows = [
        {"question": PROMPTS[i], "samples": [reply(i, j) for j in range(5)], "is_corrects": [True] * 5}
        for i in range(2)
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "set", num_shards=2)
    imported = imports([tmp_path / "set"])
    assert imported.provenance["format"] == "monkeys"
    assert imported.table.height == 10
    datasets.DatasetDict(train=datasets.Dataset.from_list(rows)).save_to_disk(tmp_path / "splits")
    with pytest.raises(TableError, match=r"has the splits train; give one of them, for instance .*/splits/train"):
        imports([tmp_path / "splits"])
    (tmp_path / "set/data-00001-of-00002.arrow").unlink()
    with pytest.raises(TableError, match="lacks data-00001-of-00002.arrow"):
        imports([tmp_path / "set"])

"""A small valid file of each format, written by hand from the project's own description of it.

`EXAMPLES[format](folder)` writes it and returns the paths to import. Each has two prompts or more with four replies
or more, unless the format has fewer.
"""

import io
import json
import struct
import zipfile
import zlib

import polars as pl
import pyarrow as pa
import yaml

PROMPTS = ("What is 2 + 2?", "Name a river.")


def reply(i, j):
    return f"A reply of some length, number {j} to prompt {i}."


def jsonl(file, records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return [file]


def pairs(samples=5):
    return [(i, j, PROMPTS[i], reply(i, j)) for i in range(2) for j in range(samples)]


def generic(folder):
    return jsonl(folder / "mine.jsonl", [{"prompt": p, "reply": r, "score": i + j / 4} for i, j, p, r in pairs()])


def lm_eval_records(filters=("strict-match", "flexible-extract"), run=0, **generation):
    options = {"until": ["\n"], "do_sample": True, "temperature": 0.7, "max_gen_toks": 64} | generation
    return [
        {
            "doc_id": i,
            "doc": {"question": PROMPTS[i]},
            "target": "4",
            "arguments": {"gen_args_0": {"arg_0": PROMPTS[i], "arg_1": options}},
            "resps": [[reply(i, run)]],
            "filtered_resps": ["4" if (run + k) % 2 else "[invalid]"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": "d",
            "prompt_hash": "p",
            "target_hash": "t",
            "exact_match": float((run + k) % 2),
        }
        for k, name in enumerate(filters)
        for i in range(2)
    ]


def lm_eval(folder, runs=5, **more):
    out = folder / "org__model"
    out.mkdir(exist_ok=True)
    for run in range(runs):
        date = f"2026-01-0{run + 1}T00-00-00.{run}"
        jsonl(out / f"samples_sums_{date}.jsonl", lm_eval_records(run=run, **more))
        (out / f"results_{date}.json").write_text(json.dumps({"model_name": "org/model", "results": {}}))
    return [out]


def inspect_header(**generation):
    spec = {"task": "rivers", "model": "lab/m", "model_generate_config": {"temperature": 1.0} | generation}
    return {"version": 2, "status": "success", "eval": spec, "plan": {"config": {}}}


def inspect_sample(i, epoch, value="C"):
    message = {"role": "assistant", "content": [{"type": "text", "text": reply(i, epoch)}]}
    tokens = [{"token": "A", "logprob": -0.5}, {"token": " reply", "logprob": -1.5}]
    choice = {"message": message, "stop_reason": "stop", "logprobs": {"content": tokens}}
    return {
        "id": f"s{i}",
        "epoch": epoch,
        "input": [{"role": "user", "content": PROMPTS[i]}],
        "target": "4",
        "messages": [{"role": "user", "content": PROMPTS[i]}, message],
        "output": {"model": "lab/m", "choices": [choice]},
        "scores": {"match": {"value": value if epoch % 2 else "I"}, "judge": {"value": {"tone": epoch / 2}}},
        "attachments": {},
    }


def archive(file, members, method="deflated"):
    """A zip file; `zstd` writes members as inspect does, which Python's zipfile cannot."""
    if method != "zstd":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for name, value in members.items():
                out.writestr(name, json.dumps(value))
        return [file]
    body, central = io.BytesIO(), io.BytesIO()
    for name, value in members.items():
        content = json.dumps(value).encode()
        packed = pa.compress(content, "zstd", asbytes=True)
        sizes = zlib.crc32(content), len(packed), len(content), len(name), 0
        at = body.tell()
        body.write(struct.pack("<4s5H3I2H", b"PK\3\4", 63, 0, 93, 0, 33, *sizes) + name.encode() + packed)
        central.write(
            struct.pack("<4s6H3I5H2I", b"PK\1\2", 63, 63, 0, 93, 0, 33, *sizes, 0, 0, 0, 0, at) + name.encode()
        )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(members), len(members), central.tell(), body.tell(), 0)
    file.write_bytes(body.getvalue() + central.getvalue() + end)
    return [file]


def inspect_members(epochs=5, parts=False, **generation):
    members = {"_journal/start.json": {"version": 2, **inspect_header(**generation)}}
    for i in range(2):
        for epoch in range(1, epochs + 1):
            sample = inspect_sample(i, epoch)
            if not parts:
                members[f"samples/s{i}_epoch_{epoch}.json"] = sample
                continue
            del sample["messages"], sample["attachments"]
            sample["input"] = "attachment://1"
            folder = f"samples/s{i}_epoch_{epoch}"
            members |= {f"{folder}/sample.json": sample | {"message_refs": [[0, 2]], "turn_count": 1}}
            members |= {f"{folder}/attachments/0.json": ["unused"], f"{folder}/attachments/1.json": [PROMPTS[i]]}
            members |= {f"{folder}/messages/0.json": [{"role": "user", "content": "attachment://1"}]}
    return members | {"header.json": inspect_header(**generation)}


def inspect(folder):
    return archive(folder / "log.eval", inspect_members(), "zstd")


def openai_batch(folder, samples=5):
    asked, given = [], []
    for i, j, prompt, text in pairs(samples):
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "temperature": 1, "top_p": 1}
        asked.append({"custom_id": f"{i}-{j}", "method": "POST", "url": "/v1/chat/completions", "body": body})
        tokens = [{"token": "A", "logprob": -0.25}, {"token": "b", "logprob": -0.5}]
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        reply_body = {"model": "m-2026", "choices": [choice | {"logprobs": {"content": tokens}}]}
        response = {"status_code": 200, "request_id": "r", "body": reply_body}
        given.append({"id": "b", "custom_id": f"{i}-{j}", "response": response, "error": None})
    return jsonl(folder / "requests.jsonl", asked) + jsonl(folder / "replies.jsonl", given[::-1])


def traces(folder, steps=(1,)):
    records = [
        {
            "step": step,
            "sample_idx": j,
            "prompt_idx": i,
            "prompt_tokens": [1, 2, i],
            "response_tokens": [5, 6, j],
            "reward": float(j % 2 if i else 1),
            "advantage": 0.0,
            "finish_reason": "stop",
            "dataset": "d",
            "logprobs": [-0.1, -0.2, -0.3 - j],
        }
        for step in steps
        for i, j, _, _ in pairs()
    ]
    jsonl(
        folder / "run_metadata.jsonl", [{"run_name": "run", "model_name": "org/m", "git_commit": "", "timestamp": ""}]
    )
    return jsonl(folder / "run_rollouts_000000.jsonl", records)


def rejection(folder):
    records = []
    for i in range(2):
        turns = [{"role": "user", "content": PROMPTS[i]}]
        for text in ["the reference", *(reply(i, j) for j in range(5))]:
            scores = {"org/rm": float(len(records)), "gpt-4": -1.0 if text == reply(0, 1) else 7.0 + len(records) % 3}
            own = {"messages": [*turns, {"role": "assistant", "content": text}], "model_completion": text}
            records.append(own | {"reference_completion": "the reference", "score": scores})
    return jsonl(folder / "scores.jsonl", records)


def verl(folder, steps=(1,)):
    for step in steps:
        records = [
            {
                "input": f"user\n{p}",
                "output": f"{r} At step {step}.",
                "gts": "4",
                "score": j / 4,
                "step": step,
                "acc": j > 2,
            }
            for i, j, p, r in pairs()
        ]
        jsonl(folder / f"{step}.jsonl", records)
    return [folder / f"{step}.jsonl" for step in steps]


def trl(folder, steps=(1,), name="completions"):
    out = folder / name
    out.mkdir(exist_ok=True)
    for step in steps:
        rows = [
            {"step": step, "prompt": p, "completion": f"{r} {step}", "length_reward": float(j), "advantage": 0.5}
            for i, j, p, r in pairs()
        ]
        pl.DataFrame(rows).write_parquet(out / f"completions_{step:05d}.parquet")
    return [out]


def rewardbench(folder):
    records = [
        {"id": f"q{i}", "prompt": PROMPTS[i], "chosen": [reply(i, 0)], "rejected": [reply(i, j) for j in (1, 2, 3)]}
        | {
            "num_correct": 1,
            "num_incorrect": 3,
            "total_completions": 4,
            "subset": "Math",
            "models": ["a", "b", "c", "a"],
        }
        for i in range(2)
    ]
    return jsonl(folder / "rb2.jsonl", records)


def ppe(folder):
    records = [
        {"question_id": 10 + i, "model_name": "m", "prompt": PROMPTS[i], "scores": [j % 2 == 0 for j in range(5)]}
        | {f"response_{j + 1}": reply(i, j) for j in range(5)}
        for i in range(2)
    ]
    return jsonl(folder / "ppe.jsonl", records)


def monkeys(folder):
    out = folder / "math"
    out.mkdir()
    for i in range(2):
        one = {"prompt": PROMPTS[i], "question": "q", "samples": [reply(i, j) for j in range(5)], "gt_answer": "4"}
        text = yaml.safe_dump(one | {"is_corrects": [j > i for j in range(5)]})
        (out / f"{i}.yaml").write_text(text, "utf-8")
    return [out]


def ensembles(folder):
    records = [
        {"instruction": "Answer.", "input": PROMPTS[i], "answers": [reply(i, j) for j in range(5)]}
        | {"gold_scores": [0.5, 0.1, 0.9, 0.2, 0.3], "proxy_scores": [1.0, 3.0, 2.0, 0.0, 4.0]}
        for i in range(2)
    ]
    (folder / "gens.json").write_text(json.dumps(records), "utf-8")
    return [folder / "gens.json"]


def ultrafeedback(folder, models=("a", "a", "a", "a")):
    def completion(i, j, model):
        ratings = {
            "helpfulness": {"Rating": str(j + 1), "Rationale": ""},
            "honesty": {"Rating": "N/A" if j == 3 else "5"},
        }
        return {"model": model, "response": reply(i, j), "annotations": ratings, "overall_score": 5.0 + j}

    records = [
        {"instruction": PROMPTS[i], "completions": [completion(i, j, m) for j, m in enumerate(models)]}
        for i in range(2)
    ]
    return jsonl(folder / "uf.jsonl", records)


def distilabel(folder):
    records = [
        {"instruction": PROMPTS[i], "generations": [reply(i, j) for j in range(4)], "ratings": [1, 2, None, 4]}
        | {"rationales": ["because"] * 4, "generation_models": ["a"] * 4, "model_name": "the judge"}
        for i in range(2)
    ]
    return jsonl(folder / "labels.jsonl", records)


def alpaca_eval(folder):
    records = [
        {"instruction": PROMPTS[i], "output_1": "base", "generator_1": "davinci", "output_2": reply(i, j)}
        | {"generator_2": "mine", "annotator": "judge", "preference": None if j == 0 else 1 + j / 4}
        for i, j, _, _ in pairs()
    ]
    (folder / "annotations.json").write_text(json.dumps(records), "utf-8")
    return [folder / "annotations.json"]


EXAMPLES = {
    "generic": generic,
    "lm-eval": lm_eval,
    "inspect": inspect,
    "openai-batch": openai_batch,
    "open-instruct-traces": traces,
    "open-instruct-rejection": rejection,
    "verl": verl,
    "trl": trl,
    "rewardbench-2": rewardbench,
    "ppe": ppe,
    "monkeys": monkeys,
    "rm-ensembles": ensembles,
    "ultrafeedback": ultrafeedback,
    "distilabel": distilabel,
    "alpaca-eval": alpaca_eval,
}

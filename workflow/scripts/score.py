"""Score one shard of replies with one reward."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

import time
from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.rewards.load import load_reward, read_beside, refuse_failed, thinking, with_server
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import DOCUMENTS, PROMPTS, SAMPLES, SCORES

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input.get("files")
    samples = read_table(snakemake.input.samples, SAMPLES)
    prompts, documents = read_table(snakemake.input.prompts, PROMPTS), None
    if snakemake.input.get("documents"):
        documents = read_table(Path(snakemake.input.documents) / "documents.parquet", DOCUMENTS)
    read = read_beside(p["spec"], prompts, documents)
    table = samples.select("prompt_id", "sample_id", "text")
    spec = with_server(p["spec"], snakemake.config.get("rewards", {}))
    reward = load_reward(spec, Path(files) if files else None, device=device_of_job())
    start = time.perf_counter()
    scores = reward.score([read[prompt] for prompt in table["prompt_id"]], table["text"].to_list())
    seconds = time.perf_counter() - start
    refuse_failed(scores, p["spec"], table["text"].to_list())
    speed = f"{table.height} texts, {table.height / seconds:.0f}/s, {scores.truncated.mean():.1%} truncated"
    run = {}
    if "reply" in p["spec"]:
        run = thinking([read[prompt] for prompt in table["prompt_id"]], table["text"].to_list())
        speed += f", {run['unfinished_thinking']:.1%} with unfinished thinking, which is scored as an empty reply"
        if not any(run.values()):
            say("warning: no reply thinks (<think>, </think>); `reply: after-thinking` changes nothing here")
    if scores.failed is not None:
        run["failed"] = float(scores.failed.mean())
        speed += f", {scores.failed.mean():.1%} without an answer"
    say(f"{snakemake.wildcards.scorer}: {speed}")
    out = table.select("prompt_id", "sample_id", score=pl.Series(scores.score), truncated=pl.Series(scores.truncated))
    if scores.answers is not None:
        out = out.with_columns(answer=pl.Series(scores.answers.tolist(), dtype=pl.String))
    packages = ["torch", "transformers", "scikit-learn", "onnxruntime", "vaderSentiment", "math-verify"]
    source = {"samples_sha256": file_sha256(snakemake.input.samples)}
    more = {"run": run} if run else {}
    write_table(out, snakemake.output.scores, SCORES, provenance(snakemake, packages, source=source, **more))

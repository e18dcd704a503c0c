"""Score a few texts with one reward, and refuse the reward if its scores cannot be trusted."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

from pathlib import Path

import polars as pl

from alignment_limits.files import write_json
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.models.memory import checkpoint
from alignment_limits.rewards.load import by_prompt, read_beside, with_server
from alignment_limits.rewards.preflight import OWN_REPLIES, load_and_preflight, warnings_of
from alignment_limits.study.memory import for_scoring, in_words
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import DOCUMENTS, PROMPTS

with job(snakemake):
    p, files, documents = snakemake.params.p, snakemake.input.get("files"), None
    own = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.prompts])
    prompts = pl.concat([own, *(read_table(file, PROMPTS) for file in snakemake.input.training)])
    if snakemake.input.get("documents"):
        documents = read_table(Path(snakemake.input.documents) / "documents.parquet", DOCUMENTS)
    read = read_beside(p["spec"], prompts, documents)
    if p["optimized"]:
        by_prompt(read, own)  # when a policy is trained, a reward finds its prompt by the text
    expert = prompts.drop_nulls("reference").select("prompt_id", "reference").head(OWN_REPLIES).iter_rows()
    replies = [(read[key], reply.split("\n")[0]) for key, reply in expert]
    spec = with_server(p["spec"], snakemake.config.get("rewards", {}))
    name, folder = p["name"], Path(files) if files else None
    more = {"own": replies, "reply_tokens": p["max_new_tokens"], "device": device_of_job()}
    if folder and p["spec"].get("dtype"):
        size, dtype = checkpoint(folder), p["spec"]["dtype"]
        say(f"{name}: {in_words(size, dtype, for_scoring(size, dtype))} of memory, or its GPU does")
    figures = load_and_preflight(spec, folder, name, prompts=read, **more)
    say(f"preflight {name}: passed")
    for warning in warnings_of(figures):
        say(f"warning: {warning}")
    packages = ["torch", "transformers", "scikit-learn", "onnxruntime", "vaderSentiment", "math-verify"]
    made = provenance(snakemake, packages)
    write_json(figures | {"provenance": made}, snakemake.output.passed)

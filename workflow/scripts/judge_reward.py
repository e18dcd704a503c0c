"""Score experts' replies, base replies and replies to other documents with one reward."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

from pathlib import Path

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.report.agreement import trials
from alignment_limits.rewards.base import Prompt
from alignment_limits.rewards.load import columns_of, load_reward, with_server
from alignment_limits.tables.artifacts import read_table, read_tables, write_table
from alignment_limits.tables.schemas.samples import DOCUMENTS, SAMPLES, TRIALS

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input.get("files")
    samples = read_tables(snakemake.input.samples, SAMPLES)
    documents = read_table(Path(snakemake.input.documents) / "documents.parquet", DOCUMENTS)
    documents = documents.join(samples, on="prompt_id", how="semi")
    table = trials(documents, samples, p["spec"].get("beside", "prompt"), p["per_document"])
    spec = with_server(p["spec"], snakemake.config.get("rewards", {}))
    reward = load_reward(spec, Path(files) if files else None, device=device_of_job())
    columns = columns_of(p["spec"], documents)
    beside = [Prompt(text, columns[key]) for key, text in table.select("prompt_id", "beside").iter_rows()]
    scores = reward.score(beside, table["reply"].to_list())
    out = table.select("prompt_id", "role", score=pl.Series(scores.score))
    write_table(out, snakemake.output.scores, TRIALS, provenance(snakemake, ["torch", "transformers"]))

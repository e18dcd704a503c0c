"""Check a table of samples from another source, and write its prompts and samples as the parts that are scored."""

from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.importers.metadata import verdict_of
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.prompts import conversations
from alignment_limits.tables.sample_table import divide, read_prompts_of, read_sample_table
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    file = Path(files.table)
    samples = read_sample_table(file, p["needed"])
    prompts = read_prompts_of(file, samples, p["columns"], Path(files.prompts) if files.get("prompts") else None)
    say(f"{file}: {prompts.height} prompts, {samples.height} samples")
    if files.get("model"):
        from alignment_limits.models.tokenizer import load_tokenizer
        from alignment_limits.sampling.shard import render

        tokenizer = load_tokenizer(Path(files.model), p["trust_remote_code"])
        asked, names = conversations(prompts, "chat"), prompts["prompt_id"].to_list()
        how = {"system": p["system"], "date": p["date"], "variables": p.get("chat")}
        texts = render(asked, tokenizer, ids=names, **how)
        prompts = prompts.with_columns(text=pl.Series(texts))
    verdict = verdict_of(file)
    more = {} if verdict is None else {"imported": verdict}
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file)} | more)
    outputs = zip(snakemake.output.prompts, snakemake.output.samples, strict=True)
    for (own, drawn), (prompts_file, samples_file) in zip(
        divide(prompts, samples, len(snakemake.output.prompts)), outputs, strict=True
    ):
        write_table(own, prompts_file, PROMPTS, made)
        write_table(drawn, samples_file, SAMPLES, made)

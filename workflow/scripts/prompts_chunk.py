"""Choose the study's prompts and write one chunk of them."""

from pathlib import Path

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.prompts import choose_prompts, conversations, read_prompts
from alignment_limits.tables.schemas.samples import PROMPTS

with job(snakemake):
    p = snakemake.params.p
    table = read_prompts(Path(snakemake.input.source), p["text_column"])
    chunk = choose_prompts(table, p["end"], p["seed"], p["stratify_by"])[p["first"] :]
    asked = conversations(chunk, p["template"])
    chunk = chunk.with_columns(prompt=pl.col("text"))
    if p["template"] == "chat":
        from alignment_limits.models.tokenizer import load_tokenizer
        from alignment_limits.sampling.shard import render

        tokenizer = load_tokenizer(Path(snakemake.input.model), p["trust_remote_code"])
        names = chunk["prompt_id"].to_list()
        how = {"system": p.get("system"), "date": p["date"], "variables": p.get("chat")}
        texts = render(asked, tokenizer, ids=names, **how)
        chunk = chunk.with_columns(text=pl.Series(texts))
    write_table(chunk, snakemake.output.prompts, PROMPTS, provenance(snakemake))

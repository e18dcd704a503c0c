"""Turn documents with references into prompts."""

from pathlib import Path

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.prompts import read_documents
from alignment_limits.tables.schemas.samples import DOCUMENTS

with job(snakemake):
    table = read_documents(Path(snakemake.input.source), **snakemake.params.p)
    words = table["document"].str.count_matches(r"\S+")
    say(f"{table.height} documents of {words.min()} to {words.max()} words (median {words.median():.0f})")
    folder = Path(snakemake.output.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / "documents.parquet", DOCUMENTS, provenance(snakemake))

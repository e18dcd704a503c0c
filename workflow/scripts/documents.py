"""Turn documents with references into prompts."""

from pathlib import Path

from alignment_limits.artifacts import write_table
from alignment_limits.documents import read_documents
from alignment_limits.schemas.documents import DOCUMENTS
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    table = read_documents(Path(snakemake.input.source), **snakemake.params.p)
    words = table["document"].str.count_matches(r"\S+")
    say(f"{table.height} documents of {words.min()} to {words.max()} words, {words.median():.0f} in the median")
    folder = Path(snakemake.output.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / "documents.parquet", DOCUMENTS, provenance(snakemake))

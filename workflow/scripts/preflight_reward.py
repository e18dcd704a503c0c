"""Score a handful of texts with one reward and refuse it when its scores cannot be trusted."""

import os

os.environ.setdefault("OMP_NUM_THREADS", str(snakemake.threads))

from pathlib import Path

from alignment_limits.artifacts import read_table
from alignment_limits.files import write_json
from alignment_limits.rewards.beside import read_beside
from alignment_limits.rewards.preflight import load_and_preflight, warnings_of
from alignment_limits.schemas.documents import DOCUMENTS
from alignment_limits.schemas.prompts import PROMPTS
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p, files, documents = snakemake.params.p, snakemake.input.get("files"), None
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    if snakemake.input.get("documents"):
        documents = read_table(Path(snakemake.input.documents) / "documents.parquet", DOCUMENTS)
    read = read_beside(p["spec"], prompts, documents)
    expert = prompts.drop_nulls("reference").select("prompt_id", "reference").iter_rows()
    own = [(read[key], reply.split("\n")[0]) for key, reply in expert]
    name = p["name"]
    figures = load_and_preflight(p["spec"], Path(files) if files else None, name, prompts=list(read.values()), own=own)
    say(f"preflight {name}: passed")
    for warning in warnings_of(figures):
        say(f"warning: {warning}")
    made = provenance(snakemake, ["torch", "transformers", "scikit-learn", "onnxruntime", "vaderSentiment"])
    write_json(figures | {"provenance": made}, snakemake.output.passed)

"""Bring all rewards to one scale, of which some lack scores of some samples."""

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import read_scores
from alignment_limits.tables.labels import partial_tables, read_partial_scores
from alignment_limits.tables.schemas.samples import PROMPT_IDS, SCALES, STANDARDISED

with job(snakemake):
    p, files, scores = snakemake.params.p, snakemake.input, {}
    for name in p["rewards"]:
        read = read_partial_scores if name in p["partial"] else read_scores
        scores[name] = read(files[f"scores/{name}"], name, p["bounds"].get(name))
        if lost := scores[name]["score"].null_count():
            say(f"{name}: {scores[name].height - lost} of {scores[name].height} samples have a score")
    standardised, scales = partial_tables(scores, read_table(files[0], PROMPT_IDS))
    write_table(scales, snakemake.output.scales, SCALES, provenance(snakemake))
    write_table(standardised, snakemake.output.standardised, STANDARDISED, provenance(snakemake))

"""The page of generated text, for studies that ask for it."""

from alignment_limits.artifacts import read_table, read_tables
from alignment_limits.report.page import write_page
from alignment_limits.report.sample_page import sample_page
from alignment_limits.scripting import job

with job(snakemake):
    prompts = read_table(snakemake.input.prompts, "prompts")
    samples = read_tables(snakemake.input.samples, "samples")
    scores = read_table(snakemake.input.standardised, "standardised")
    gold = scores.select("prompt_id", "sample_id", score=snakemake.params.p["gold"])
    write_page(sample_page(snakemake.config["study"], prompts, samples, gold), snakemake.output.html)

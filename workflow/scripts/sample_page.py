"""Write the page of generated text, for studies that ask for it."""

from alignment_limits.jobs.job import job
from alignment_limits.report.pages.headline import sample_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.tables.artifacts import read_table, read_tables
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES, STANDARDISED

with job(snakemake):
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    samples = read_tables(snakemake.input.samples, SAMPLES)
    scores = read_table(snakemake.input.standardised, STANDARDISED)
    gold = scores.select("prompt_id", "sample_id", score=snakemake.params.p["gold"])
    write_page(sample_page(snakemake.config["study"], prompts, samples, gold), snakemake.output.html)

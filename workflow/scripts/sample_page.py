"""The page of generated text, for studies that ask for it."""

from alignment_limits.artifacts import read_table, read_tables
from alignment_limits.report.page import write_page
from alignment_limits.report.sample_page import sample_page
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.prompts import PROMPTS
from alignment_limits.schemas.samples import SAMPLES
from alignment_limits.scripting import job

with job(snakemake):
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    samples = read_tables(snakemake.input.samples, SAMPLES)
    scores = read_table(snakemake.input.standardised, STANDARDISED)
    gold = scores.select("prompt_id", "sample_id", score=snakemake.params.p["gold"])
    write_page(sample_page(snakemake.config["study"], prompts, samples, gold), snakemake.output.html)

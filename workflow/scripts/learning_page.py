"""What the claims of the paper come to in this study, as a page."""

from alignment_limits.jobs.job import job, say
from alignment_limits.report.claims.learning import learning_claims, nearest
from alignment_limits.report.pages.learning import learning_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import GAMMA, LEARNING_SUMMARY, RATES, SLOPES

with job(snakemake):
    p = snakemake.params.p
    rates = read_table(snakemake.input.rates, RATES)
    summary = read_table(snakemake.input.summary, LEARNING_SUMMARY)
    slopes = read_table(snakemake.input.slopes, SLOPES)
    gammas = [read_table(file, GAMMA) for file in snakemake.input.gamma]
    verdicts = learning_claims(rates, summary, slopes, p)
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    page = learning_page(snakemake.config["study"], p, verdicts, summary, slopes, nearest(rates, summary), gammas)
    write_page(page, snakemake.output.html)

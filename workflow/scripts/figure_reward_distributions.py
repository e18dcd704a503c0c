"""Draw the distributions of the rewards on the base model's samples."""

from alignment_limits.jobs.job import job
from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.figures.reward_distributions import reward_distributions
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import STANDARDISED

with job(snakemake):
    look = Look.of(snakemake.params.p)
    scores = read_table(snakemake.input.standardised, STANDARDISED)
    agreement = within_prompt_spearman(scores, look.gold, look.names)
    save(reward_distributions(scores, agreement, look), look, snakemake.output.pdf, snakemake.output.png)

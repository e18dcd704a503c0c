"""Draw one figure of the table in report/figures/table.py."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.style import save
from alignment_limits.report.figures.table import draw

with job(snakemake):
    figure, look = draw(snakemake.params.figure, dict(snakemake.input.items()), snakemake.params.p)
    save(figure, look, snakemake.output.pdf, snakemake.output.png)

"""Draw the policies beside the limit of a reward and best-of-n."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.policies import policies
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import BEST_OF_N, FRONTIER
from alignment_limits.tables.schemas.samples import POLICIES

with job(snakemake):
    look = Look.of(snakemake.params.p)
    schemas = {"policies": POLICIES, "frontier": FRONTIER, "best_of_n": BEST_OF_N}
    tables = {name: read_table(snakemake.input[name], schema) for name, schema in schemas.items()}
    evaluated = snakemake.params.p["evaluated"]
    figure = policies(tables["policies"], tables["frontier"], tables["best_of_n"], look, evaluated=evaluated)
    save(figure, look, snakemake.output.pdf, snakemake.output.png)

"""Draw how far policies are from the target against the number of pairs."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.style import Look, save
from alignment_limits.figures.targets import targets
from alignment_limits.policies.distances import chosen, distances, main_setting
from alignment_limits.schemas.targets import EXACT_TARGETS, TARGETS
from alignment_limits.scripting import job

with job(snakemake):
    files, look = snakemake.input, Look.of(snakemake.params.p)
    exact = read_table(files.exact, EXACT_TARGETS) if files.exact else None
    rows = chosen(main_setting(distances(read_table(files.targets, TARGETS), exact)))
    save(targets(rows, look), look, snakemake.output.pdf, snakemake.output.png)

"""The limit and the decoder's curve from the replies of all levels of tempered sampling."""

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.sampling.tempered_limits import limits_of
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import TEMPERED as LIMITS
from alignment_limits.tables.grid import prompt_clusters, standardised_bounds
from alignment_limits.tables.schemas.samples import SCALES, STANDARDISED, TEMPERED

with job(snakemake):
    shards = [read_table(file, TEMPERED) for file in snakemake.input.shards]
    clusters = prompt_clusters(read_table(snakemake.input.standardised, STANDARDISED))
    p = snakemake.params.p
    bounds = standardised_bounds(read_table(snakemake.input.scales, SCALES), p["bounds"]) if p.get("bounds") else None
    table = limits_of(shards, p, clusters, bounds)
    for row in table.filter(table["at"] == "kl").iter_rows(named=True):
        if row["optimized"] == row["evaluated"]:
            found = f"{row['gain']:.3g} [{row['gain_low']:.3g}, {row['gain_high']:.3g}]"
            say(f"limit at {row['kl']:g} nats, {row['budget']} budget: {row['reason'] or found}")
    write_table(table, snakemake.output.table, LIMITS, provenance(snakemake))

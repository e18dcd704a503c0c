"""Write the table of one estimator of tables/estimates.py."""

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import ESTIMATORS, estimate
from alignment_limits.tables.estimators import contract_of
from alignment_limits.tables.schemas.samples import STANDARDISED
from alignment_limits.tables.units import BASE_SD, OWN, RAW

with job(snakemake):
    name = snakemake.params.estimator
    files = dict(snakemake.input.items())
    standardised = read_table(files.pop("standardised"), STANDARDISED)
    tables = {kind: read_table(file, contract_of(kind)) for kind, file in files.items()}
    table = estimate(name, standardised, snakemake.params.p, **tables)
    for line in ESTIMATORS[name].said(table, snakemake.params.p):
        say(line)
    entry = ESTIMATORS[name]
    units = RAW if entry.path in OWN else BASE_SD
    write_table(table, snakemake.output.table, entry.contract, provenance(snakemake, ["numba"], units=units))

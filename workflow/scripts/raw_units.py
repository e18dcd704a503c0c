"""Write tables of the study in the rewards' own units."""

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import Schema, read_table, write_table
from alignment_limits.tables.schemas.samples import SCALES
from alignment_limits.tables.standardised import scales_of
from alignment_limits.tables.units import COLUMNS, RAW, in_raw_units

with job(snakemake):
    files = dict(snakemake.input.items())
    scales = scales_of(read_table(files.pop("scales"), SCALES))
    for file, path in files.items():
        schema = COLUMNS[file][0]
        table = in_raw_units(file, read_table(path, schema), scales, snakemake.params.p["gold"])
        own = Schema(schema.name, dict(table.schema), schema.verdicts)
        write_table(table, snakemake.output[file], own, provenance(snakemake, units=RAW))

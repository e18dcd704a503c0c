"""Read samples of another project, check that they are of one law, and write them as one table of scores."""

from pathlib import Path

from alignment_limits.importers.imported import FINDINGS, IMPORTED, SOURCES, describe, import_files
from alignment_limits.importers.rows import Choices
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import write_table

with job(snakemake):
    p = snakemake.params.p
    imported = import_files(
        [Path(file) for file in p["files"]],
        p["format"],
        Choices(p["prompt"], p["reply"], tuple(p["rewards"]), p["law"], p["id"]),
        keep=p["keep"],
        accept=p["accept"],
        complete=p["complete"],
        most=p["samples"],
    )
    for line in describe(imported):
        say(line)
    imported.check()
    write_table(imported.table, snakemake.output.table, IMPORTED, provenance(snakemake, imported=imported.provenance))
    write_table(imported.findings_table, snakemake.output.findings, FINDINGS, provenance(snakemake))
    write_table(imported.sources_table, snakemake.output.sources, SOURCES, provenance(snakemake))

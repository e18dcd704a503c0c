"""Write the checksums of a finished study's files."""

from alignment_limits.files import checksums, write_json
from alignment_limits.jobs.job import job

with job(snakemake):
    write_json(checksums(snakemake.input), snakemake.output.manifest)

"""Write down the checksums of a finished study's files."""

from alignment_limits.files import write_json
from alignment_limits.scripting import job
from alignment_limits.verify import checksums

with job(snakemake):
    write_json(checksums(snakemake.input), snakemake.output.manifest)

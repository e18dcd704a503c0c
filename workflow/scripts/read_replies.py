"""Check a user's table of a policy's replies, and write them as samples that the rewards score."""

from pathlib import Path

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.sample_table import read_replies
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES

with job(snakemake):
    file, prompts = Path(snakemake.input.table), read_table(snakemake.input.prompts, PROMPTS)
    replies = read_replies(file, prompts)
    answered = replies["prompt_id"].n_unique()
    say(f"{file}: {replies.height} replies of {snakemake.params.p['name']} to {answered} of {prompts.height} prompts")
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file)})
    write_table(replies, snakemake.output.replies, SAMPLES, made)

"""Refuse a start model that cannot be fine-tuned into a reward of this study, before anything is sampled."""

from pathlib import Path

import polars as pl

from alignment_limits.errors import RewardError
from alignment_limits.files import write_json
from alignment_limits.jobs.job import job, say
from alignment_limits.rewards.load import by_prompt, read_beside
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import PROMPTS
from alignment_limits.training.fine_tune import check_start

with job(snakemake):
    p = snakemake.params.p
    own = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.prompts])
    prompts = pl.concat([own, *(read_table(file, PROMPTS) for file in snakemake.input.training)])
    read = read_beside({}, prompts)
    try:
        if p["optimized"]:
            by_prompt(read, own)  # when a policy is trained, a reward finds its prompt by the text
        check_start(Path(snakemake.input.start), read, p["settings"])
    except RewardError as error:
        raise RewardError(f"reward '{p['name']}': {error}") from error
    say(f"preflight {p['name']}: its start can read all {prompts.height} prompts")
    write_json({"reward": p["name"], "prompts": prompts.height}, snakemake.output.passed)

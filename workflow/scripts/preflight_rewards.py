"""Record that all rewards have passed, so that sampling may start."""

import json
from pathlib import Path

from alignment_limits.files import write_json
from alignment_limits.jobs.job import job

with job(snakemake):
    passed = [json.loads(Path(file).read_text("utf-8")) for file in snakemake.input.passed]
    write_json({figures["reward"]: figures for figures in passed}, snakemake.output.passed)

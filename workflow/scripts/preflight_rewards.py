"""All rewards have passed: sampling may start."""

import json
from pathlib import Path

from alignment_limits.files import write_json
from alignment_limits.scripting import job

with job(snakemake):
    passed = {Path(f).stem: json.loads(Path(f).read_text("utf-8")) for f in snakemake.input.passed}
    write_json(passed, snakemake.output.passed)

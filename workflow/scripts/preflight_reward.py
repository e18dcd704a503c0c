"""Score a handful of texts with one reward and refuse it when its scores cannot be trusted."""

import os

os.environ.setdefault("OMP_NUM_THREADS", str(snakemake.threads))

from pathlib import Path

from alignment_limits.files import write_json
from alignment_limits.rewards.load import load_reward
from alignment_limits.rewards.preflight import preflight
from alignment_limits.scripting import job, say

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input.get("files")
    reward = load_reward(p["spec"], Path(files) if files else None)
    figures = preflight(reward, p["name"])
    say(f"preflight {p['name']}: passed")
    write_json(figures, snakemake.output.passed)

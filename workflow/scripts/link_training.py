"""Links from the study's folder to the training runs it shares with other studies."""

import os
from pathlib import Path

from alignment_limits.jobs.job import job

with job(snakemake):
    for folder, shared in snakemake.params.p["links"].items():
        Path(folder).mkdir(parents=True)
        for made in ("model", "curves.parquet"):
            Path(folder, made).symlink_to(os.path.relpath(Path(shared, made), folder))

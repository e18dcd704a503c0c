"""Create links from the study's folder to the training runs that it shares with other studies."""

from alignment_limits.files import link
from alignment_limits.jobs.job import job, placed

with job(snakemake):
    for folder, shared in snakemake.params.p["links"].items():
        link(placed(snakemake, folder), placed(snakemake, shared), ("model", "curves.parquet"))

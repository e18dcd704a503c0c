"""How the cost of a wrong reward falls with the number of proxies in an ensemble."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.limits.ensembles import study_ensembles
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import ENSEMBLES, STANDARDISED

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(standardised, [p["gold"], *p["proxies"]])
    table = study_ensembles(
        [scores[name] for name in p["proxies"]],
        scores[p["gold"]],
        names=p["proxies"],
        betas=p["betas"],
        at_kl=p["at_kl"],
        replicates=p["bootstrap"],
        seed=p["seed"],
        keys=prompt_keys(standardised),
        clusters=prompt_clusters(standardised),
    )
    write_table(pl.DataFrame(table.columns()), snakemake.output.ensembles, ENSEMBLES, provenance(snakemake, ["numba"]))

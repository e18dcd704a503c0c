"""How the cost of a wrong reward falls with the number of proxies in an ensemble."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.limits.ensemble_study import study_ensembles
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import ENSEMBLES
from alignment_limits.scripting import job, provenance

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

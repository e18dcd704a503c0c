"""Fit Bradley-Terry rewards of the samples to the preference pairs of one setting."""

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.preferences.pairs import fitted_rewards
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import FITTED_REWARDS, PREFERENCES

with job(snakemake):
    pairs = read_table(snakemake.input.preferences, PREFERENCES)
    rows = []
    for (level, prompt), own in pairs.group_by(["level", "prompt_id"], maintain_order=True):
        chosen, rejected = own["chosen_id"].to_numpy(), own["rejected_id"].to_numpy()
        ids = np.unique(np.concatenate([chosen, rejected]))
        scores = fitted_rewards(np.searchsorted(ids, chosen), np.searchsorted(ids, rejected), **snakemake.params.p)
        fitted = pl.DataFrame({"reply_id": ids, "score": scores})
        rows.append(
            fitted.with_columns(prompt_id=pl.lit(prompt), level=pl.lit(level), setting=pl.lit(own["setting"][0]))
        )
    write_table(pl.concat(rows), snakemake.output.rewards, FITTED_REWARDS, provenance(snakemake))

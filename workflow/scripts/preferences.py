"""Draw preference pairs of the study's samples, judged by the exact target or by a reward, in one setting."""

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.preferences.pairs import draw_pairs
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.grid import Grid, prompt_keys
from alignment_limits.tables.schemas.samples import PREFERENCES
from alignment_limits.tables.scores import judged_samples

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    judged = judged_samples(files.standardised, files.samples, gold=p["gold"], reward=p["reward"], beta=p["beta"])
    grid, keys = Grid.of(judged), prompt_keys(judged)
    ids, log_base, reward, value = (grid.array(judged[c]) for c in ("sample_id", "logprob", "reward", "value"))
    rows = []
    for level in p["levels"]:
        for i, prompt in enumerate(grid.prompt_ids):
            known = np.isfinite(value[i])
            drawn = draw_pairs(
                value[i][known],
                log_base[i][known],
                reward[i][known],
                p["pairs_per_prompt"],
                np.random.default_rng([p["seed"], int(keys[i])]),
                gamma=p["gamma"],
                setting=p["setting"],
                level=level,
            )
            own = ids[i][known].astype(int)
            columns = {"chosen_id": own[drawn.chosen], "rejected_id": own[drawn.rejected]}
            of_pairs = {"probability": drawn.probability, "observed": drawn.observed}
            rows.append(pl.DataFrame(columns | of_pairs).with_columns(prompt_id=pl.lit(prompt), level=pl.lit(level)))
    told = {"gamma": p["gamma"], "setting": p["setting"], "seed": p["seed"]}
    pairs = pl.concat(rows).with_columns(**{k: pl.lit(v) for k, v in told.items()})
    write_table(pairs, snakemake.output.preferences, PREFERENCES, provenance(snakemake))

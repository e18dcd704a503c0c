"""Preference pairs among the study's samples, as the exact target or a reward judges them, in one setting."""

import numpy as np
import polars as pl

from alignment_limits.artifacts import KEY, read_table, write_table
from alignment_limits.grid import Grid, prompt_keys
from alignment_limits.learning.pairs import draw_pairs
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.preferences import PREFERENCES
from alignment_limits.schemas.samples import SAMPLES
from alignment_limits.scripting import job, provenance

with job(snakemake):
    p = snakemake.params.p
    scores = read_table(snakemake.input.standardised, STANDARDISED).select(
        *KEY, p["gold"], reward=p["reward"] or p["gold"]
    )
    samples = [read_table(file, SAMPLES).select(*KEY, "logprob") for file in snakemake.input.samples]
    # a study of scores alone knows no log-probabilities, and its pairs need none
    table = scores.join(pl.concat(samples), on=KEY) if samples else scores.with_columns(logprob=pl.lit(0.0))
    grid, keys = Grid.of(table), prompt_keys(table)
    ids = grid.array(table["sample_id"])
    log_base, reward = grid.array(table["logprob"]), grid.array(table["reward"])
    log_target = reward if p["reward"] else log_base + reward / p["beta"]
    rows = []
    for level in p["levels"]:
        for i, prompt in enumerate(grid.prompt_ids):
            known = np.isfinite(reward[i])
            drawn = draw_pairs(
                log_target[i][known],
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

"""Write exact values next to the estimates of the frontier, tempered sampling, best-of-n and the policies."""

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import aggregate, standardise
from alignment_limits.exact.estimands import Everything, beside, every_reply, on_study_scale
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables import estimates
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import read_scores, reward_arrays
from alignment_limits.tables.schemas import limits, samples

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    replies = read_table(files.replies, samples.SAMPLES)
    logprobs = read_table(files.logprobs, limits.EXACT_POLICIES) if p["policies"] else replies
    scores = {name: read_scores([files[f"scores/{name}"]], name) for name in p["rewards"]}
    standardised = read_table(files.standardised, samples.STANDARDISED)
    recorded = read_table(files.scales, samples.SCALES)
    scales = dict(recorded.group_by("reward").agg(pl.first("scale")).iter_rows())
    sampled = reward_arrays(standardised, p["rewards"])
    for name, e in p["ensembles"].items():
        members = np.stack([sampled[member] for member in e["members"]])
        combined = aggregate(members, e["aggregator"], coefficient=e["penalty"])
        scales[name] = standardise(combined, name=name).scale

    def everything(prompt_ids):
        base = every_reply(replies, "logprob", prompt_ids)
        raw = {name: every_reply(table, "score", prompt_ids) for name, table in scores.items()}
        laws = {name: every_reply(logprobs, name, prompt_ids) for name in p["policies"]}
        listed = replies.filter(pl.col("prompt_id") == prompt_ids[0]).sort("sample_id")["token_ids"].to_list()
        return Everything(base, on_study_scale(base, raw, scales, p["ensembles"]), laws, tokens=listed)

    own = everything(sorted(standardised["prompt_id"].unique()))
    population = everything(sorted(replies["prompt_id"].unique()))
    tables = {
        "frontier": (estimates.FRONTIER, limits.EXACT_FRONTIER, lambda of: of.frontier),
        "best_of_n": (estimates.BEST_OF_N, limits.EXACT_BEST_OF_N, lambda of: of.best_of_n),
        "tempered": (estimates.TEMPERED, limits.EXACT_FRONTIER, lambda of: of.frontier),
        "policies": (limits.POLICIES, limits.EXACT_OF_POLICIES, lambda of: of.policy),
    }
    for name, (schema, contract, exact) in tables.items():
        if name not in files.keys():  # noqa: SIM118 (a list with names)
            continue
        keys = [column for column in contract.columns if column not in limits.VALUES]
        table = read_table(files[name], schema)
        if name == "tempered":
            table = table.with_columns(samples_from=pl.lit(name))
        table = beside(table, keys, exact, own, population)
        held = table["holds_exact"].drop_nulls()
        say(f"{name}: {held.sum()} of {len(held)} intervals contain the exact value")
        write_table(table, snakemake.output[name], contract, provenance(snakemake))

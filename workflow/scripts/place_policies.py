"""Measure every policy: gain, KL to the base, the limit at that KL, efficiency, optimality gap, win rate."""

import json
from pathlib import Path

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.policies.assemble import NOTES
from alignment_limits.policies.split import ALL, by_prompt, judged_apart
from alignment_limits.policies.table import (
    labelled,
    log_ratios,
    of_training,
    on_base_scale,
    own_pools_table,
    placements,
    pool_of,
    pool_table,
)
from alignment_limits.tables.artifacts import read_table, read_tables, write_table
from alignment_limits.tables.grid import (
    prompt_clusters,
    prompt_keys,
    read_scores,
    reward_arrays,
    same_keys,
    standardised_bounds,
)
from alignment_limits.tables.schemas.limits import BY_PROMPT, POLICIES
from alignment_limits.tables.schemas.samples import CURVES, LOGPROBS, POLICY_KL, POOL, SAMPLES, SCALES, STANDARDISED
from alignment_limits.training.split import trained_on

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    names = [*p["rewards"], *p["ensembles"]]
    standardised = read_table(files.standardised, STANDARDISED)
    base = reward_arrays(standardised, names)
    scales = read_table(files.scales, SCALES)
    placed, kl, on_base, samples, notes = {}, {}, {}, {}, {}
    for policy in p["policies"]:
        scores = {
            reward: read_scores(files[f"{policy}/scores/{reward}"], reward, p["bounds"].get(reward))
            for reward in p["rewards"]
        }
        kl[policy] = read_tables(files[f"{policy}/kl"], POLICY_KL)
        on_base[policy] = read_tables(files[f"{policy}/on_base"], POLICY_KL)
        samples[policy] = read_tables(files[f"{policy}/samples"], SAMPLES)
        same_keys({"kl": kl[policy], "samples": samples[policy], **scores})
        placed[policy] = on_base_scale(scores, scales, base, p["ensembles"])
        told = Path(files[f"{policy}/model"], NOTES)  # a proposal without an adapter has the base's folder
        notes[policy] = json.loads(told.read_text("utf-8")) if told.is_file() else []
    draws = {"replicates": p["bootstrap"], "seed": p["seed"], "keys": prompt_keys(standardised)}
    draws |= {"clusters": prompt_clusters(standardised), "bounds": standardised_bounds(scales, p["bounds"])}
    ratios, pool = log_ratios(kl, on_base, standardised), None
    if p["pools"] == "all":
        read = {
            policy: {other: read_tables(files[f"{policy}/on/{other}"], LOGPROBS) for other in placed if other != policy}
            for policy in placed
        }
        pool = pool_of(ratios, read, kl)
    table = placements(base, placed, kl, ratios, pool=pool, **draws)
    curves = {policy: files.get(f"{policy}/curves") for policy in p["policies"]}
    ended = {policy: of_training(read_table(file, CURVES)) for policy, file in curves.items() if file}
    labels = {policy: own | ended.get(policy, {}) for policy, own in p["policies"].items()}
    table = labelled(table, labels, samples, notes, kl).with_columns(judged_on=pl.lit(ALL))
    ids = sorted(standardised["prompt_id"].unique())
    trained = {policy: trained_on(ids, share) for policy, share in p["train_on"].items()}
    for row in table.filter(table["evaluated"] == p["gold"]).iter_rows(named=True):
        say(
            f"{row['policy']}: KL {row['kl']:.3g}, gold gain {row['gain']:.3g} of {row['limit']:.3g} "
            f"[{row['efficiency_low']:.0%}, {row['efficiency_high']:.0%}]{row['reason'] and ' — ' + row['reason']}"
        )
    made = provenance(snakemake, ["numba"])
    write_table(table, snakemake.output.policies, POLICIES, made)
    write_table(by_prompt(ids, base, placed, kl, trained), snakemake.output.by_prompt, BY_PROMPT, made)
    if "split" in snakemake.output.keys():  # noqa: SIM118 (a list with names)
        apart = judged_apart(ids, base, placed, kl, ratios, trained, **draws)
        kept = {policy: labels[policy] for policy in p["train_on"]}
        own = {policy: samples[policy] for policy in kept}
        write_table(labelled(apart, kept, own, notes, kl), snakemake.output.split, POLICIES, made)
    if pool is None:
        pooled = own_pools_table(ratios, standardised, samples, base, placed)
    else:
        pooled = pool_table(pool, standardised, samples, base, placed)
    write_table(pooled, snakemake.output.pool, POOL, made)

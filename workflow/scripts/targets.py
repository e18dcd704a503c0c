"""Measure every policy's distance from the target of the study's preferences, by samples of the base and its own."""

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.policies.target import policy_at_base, target_distances, targets_table
from alignment_limits.tables.artifacts import read_table, read_tables, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, read_scores, reward_arrays
from alignment_limits.tables.schemas.limits import TARGETS
from alignment_limits.tables.schemas.samples import POLICY_KL, SCALES, STANDARDISED

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    reward, beta = p["reward"], p["beta"]
    standardised = read_table(files.standardised, STANDARDISED)
    scales = read_table(files.scales, SCALES)
    placed = [
        policy_at_base(
            standardised,
            scales,
            reward,
            read_scores(files[f"{policy}/scores"], reward),
            read_tables(files[f"{policy}/kl"], POLICY_KL),
            read_tables(files[f"{policy}/on_base"], POLICY_KL),
        )
        for policy in p["policies"]
    ]
    base = reward_arrays(standardised, [reward])[reward]
    draws = {"replicates": p["bootstrap"], "seed": p["seed"], "keys": prompt_keys(standardised)}
    draws["clusters"] = prompt_clusters(standardised)
    found = target_distances(base, beta, placed, **draws)
    table = targets_table(found, p["policies"], base.shape[1], reward=reward, beta=beta)
    for row in table.filter(table["quantity"] == "forward_kl").iter_rows(named=True):
        say(
            f"{row['policy']}: KL(target‖policy) {row['estimate']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
            f"{row['reason'] and ' — ' + row['reason']}"
        )
    say(f"target: effective sample size {table['ess'][0]:.1f} of {base.shape[1]}, at least {found.ess.min():.1f}")
    write_table(table, snakemake.output.targets, TARGETS, provenance(snakemake, ["numba"]))

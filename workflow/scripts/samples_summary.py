"""Count truncation, duplicates and lengths per prompt, streamed over the shards."""

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.sampling.checks import summarise
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.schemas.samples import SAMPLES_SUMMARY

with job(snakemake):
    summary = summarise(snakemake.input.samples)
    cut = summary["truncation_rate"].mean()  # null for samples from elsewhere that do not say it
    say(
        f"{summary['n_samples'].sum()} samples: {'an unknown share' if cut is None else f'{cut:.1%}'} cut at "
        f"max_new_tokens, {1 - summary['distinct_share'].mean():.1%} duplicates"
    )
    if (unknown := summary["unknown_share"].mean()) and unknown > 0:
        say(
            f"{unknown:.2%} of the sampled tokens are in the model's vocabulary but unknown to its tokenizer; "
            "they count in log-probabilities but have no text"
        )
    write_table(summary, snakemake.output.summary, SAMPLES_SUMMARY, provenance(snakemake))

# Only for runs through Slurm: preflights first, no second run while jobs of an earlier one are running, and advice on
# jobs that Slurm ended. Rules that are too cheap for a job of their own have `localrule: True`.
from alignment_limits.jobs.job import (
    explain_ended,
    refuse_beside_earlier_jobs,
    refuse_limited_arrays,
    small_shards,
)


# On one machine, preflights run before sampling because of their priority. Slurm starts any job that it has room for,
# so there preflights are a separate run: snakemake --workflow-profile slurm preflights
rule preflights:
    input:
        [file for file in MADE if "/preflight/" in file],
        LAYOUT.brought.values(),


def through_slurm():
    return hasattr(workflow.executor_settings, "array_jobs")


onstart:
    if through_slurm():
        try:
            refuse_limited_arrays(
                workflow.executor_settings.array_jobs,
                workflow.resource_settings.nodes,
                [r for r in workflow.resource_settings.resources if r[0] != "_"],
            )
            refuse_beside_earlier_jobs(os.getcwd(), STUDY.study)
            if STUDY.sampling:
                said = small_shards(
                    len(LAYOUT.chunks) * len(LAYOUT.blocks),
                    STUDY.sampling.shard_tokens,
                )
                print(said, file=sys.stderr)
        except AlignmentLimitsError as error:
            raise WorkflowError(str(error))


onerror:
    if through_slurm():
        said = "\n".join(Path(file).read_text("utf-8") for file in log)
        print(explain_ended(said), file=sys.stderr)

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"


# a study starts at a base model, or at a table of scores
if STUDY.scores is None:

    include: "workflow/rules/models.smk"
    include: "workflow/rules/prompts.smk"
    include: "workflow/rules/sampling.smk"
    include: "workflow/rules/rewards.smk"
    include: "workflow/rules/generated_text.smk"

else:

    include: "workflow/rules/scores.smk"


include: "workflow/rules/ensembles.smk"
include: "workflow/rules/limits.smk"
include: "workflow/rules/figures.smk"


if STUDY.all_policies:

    include: "workflow/rules/training.smk"
    include: "workflow/rules/policies.smk"


if STUDY.enumerable:

    include: "workflow/rules/enumerable.smk"


include: "workflow/rules/report.smk"
include: "workflow/rules/slurm.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        of_the_start()[1],
        rules.manifest.input,
        rules.manifest.output,
        of_policies() if STUDY.all_policies else [],
        of_enumerable() if STUDY.enumerable else [],

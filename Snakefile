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

    if STUDY.documents is not None:

        include: "workflow/rules/documents.smk"
        include: "workflow/rules/gold.smk"

    if STUDY.gold_labels is not None:

        include: "workflow/rules/proxies.smk"

        if STUDY.gold_labels.sweep is not None:

            include: "workflow/rules/proxy_sweep.smk"

else:

    include: "workflow/rules/scores.smk"


include: "workflow/rules/ensembles.smk"
include: "workflow/rules/limits.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/slurm.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        of_the_start()[1],
        rules.manifest.input,
        rules.manifest.output,

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"


# one file a stage, in the order the data flow: alignment_limits/study/study.py
for stage in stages(STUDY):

    include: f"workflow/rules/{stage}.smk"


include: "workflow/rules/slurm.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        MADE,
        rules.manifest.output,

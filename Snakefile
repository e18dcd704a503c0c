from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/rewards.smk"
include: "workflow/rules/ensembles.smk"
include: "workflow/rules/limits.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        rules.preflight_sampling.output,
        rules.preflight_rewards.output,
        rules.frontier.output,
        rules.best_of_n.output,
        rules.headline.output,
        rules.study_card.output,
        report_pages(),
        expand(results("figures/{figure}.{kind}"), figure=FIGURES, kind=["pdf", "png"]),

include: "workflow/Snakefile"


# Snakemake does not take the default target from an included file
workflow.default_target = "all"

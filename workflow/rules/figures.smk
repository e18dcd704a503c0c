# in: the study's tables
# out: figures/<figure>.pdf and .png, a caption for each in workflow/report/
from alignment_limits.report.figures.table import figures_of, settings_of, tables_of

for NAME, FIGURE in figures_of(STUDY).items():

    rule:
        name:
            f"figure_{NAME}"
        input:
            **{k: results(path) for k, path in tables_of(FIGURE, STUDY).items()},
        output:
            pdf=results(f"figures/{NAME}.pdf"),
            png=report(
                results(f"figures/{NAME}.png"),
                caption=f"../report/figure_{NAME}.rst",
                category=FIGURE.category,
                labels={"figure": FIGURE.label},
            ),
        log:
            results(f"logs/figure_{NAME}/figure.log"),
        benchmark:
            results(f"benchmarks/figure_{NAME}/figure.tsv")
        localrule: NAME != "reward_distributions"  # which reads all scores
        conda:
            ENVIRONMENT
        params:
            figure=NAME,
            p=settings_of(FIGURE, STUDY),
            code=code("figure.py", FIGURE.module),
        script:
            "../scripts/figure.py"


MADE += [
    results(f"figures/{name}.{kind}")
    for name in figures_of(STUDY)
    for kind in ("pdf", "png")
]

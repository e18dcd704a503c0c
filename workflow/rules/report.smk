# in: all tables
# out: report/headline.parquet and .html (the numbers and what they say); `make report` puts pages and figures together
rule headline:
    input:
        frontier=results("limits/frontier.parquet"),
        best_of_n=results("limits/best_of_n.parquet"),
        over_optimisation=results("limits/over_optimisation.parquet"),
        scales=results("ensembles/scales.parquet"),
        standardised=results("ensembles/standardised.parquet"),
        summary=[] if STUDY.scores else results("samples/summary.parquet"),
    output:
        table=results("report/headline.parquet"),
        html=report(
            results("report/headline.html"),
            caption="../report/headline.rst",
            category="0 Summary",
            labels={"page": "headline numbers"},
        ),
    log:
        results("logs/headline/headline.log"),
    benchmark:
        results("benchmarks/headline/headline.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "proxies": STUDY.proxies,
            "members": {name: e.members for name, e in STUDY.ensembles.items()},
            "notes": {name: r.note for name, r in STUDY.rewards.items() if r.note},
        },
        code=code("headline.py"),
    script:
        "../scripts/headline.py"


TABLES += [
    results("ensembles/standardised.parquet"),
    results("limits/frontier.parquet"),
    results("limits/best_of_n.parquet"),
    results("limits/over_optimisation.parquet"),
    results("report/headline.parquet"),
]
MADE += [
    *rules.standardise.output,
    *rules.ensembles.output,
    *rules.frontier.output,
    *rules.best_of_n.output,
    *rules.proxy_gap.output,
    *rules.over_optimisation.output,
    *(rules.ensemble_gaps.output if len(STUDY.proxies) > 1 else []),
    *rules.headline.output,
]

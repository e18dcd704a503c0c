# in: all tables
# out: report/headline.parquet and .html (the numbers and what they say), report/study.html (settings,
#      versions, provenance); `make report` puts them and the figures together
#      manifest.json: checksums of all of the study's files, for `make verify`
rule headline:
    input:
        frontier=results("limits/frontier.parquet"),
        best_of_n=results("limits/best_of_n.parquet"),
        over_optimisation=results("limits/over_optimisation.parquet"),
        scales=results("ensembles/scales.parquet"),
        standardised=results("ensembles/standardised.parquet"),
        summary=SUMMARY,
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


rule study_card:
    input:
        tables=[
            *of_the_start()[0],
            results("ensembles/standardised.parquet"),
            results("limits/frontier.parquet"),
            results("limits/best_of_n.parquet"),
            results("limits/over_optimisation.parquet"),
            results("report/headline.parquet"),
        ],
    output:
        html=report(
            results("report/study.html"),
            caption="../report/study_card.rst",
            category="0 Summary",
            labels={"page": "settings, versions, provenance"},
        ),
    log:
        results("logs/study_card/study_card.log"),
    benchmark:
        results("benchmarks/study_card/study_card.tsv")
    params:
        p={"study": STUDY.model_dump(exclude_none=True)},
        code=code("study_card.py"),
    script:
        "../scripts/study_card.py"


rule manifest:
    input:
        # of the shards, the study's own links to them
        [
            file
            for file in [
                *of_the_start()[0],
                *of_the_start()[1],
                *(of_policies() if STUDY.all_policies else []),
            ]
            if file.startswith(results("")) and "/preflight/" not in file
        ],
        rules.standardise.output,
        rules.ensembles.output,
        rules.frontier.output,
        rules.best_of_n.output,
        rules.proxy_gap.output,
        rules.over_optimisation.output,
        rules.ensemble_gaps.output if "ensemble_gap" in FIGURES else [],
        rules.headline.output,
        rules.study_card.output,
        expand(results("figures/{figure}.{kind}"), figure=FIGURES, kind=["pdf", "png"]),
    output:
        manifest=results("manifest.json"),
    log:
        results("logs/manifest/manifest.log"),
    benchmark:
        results("benchmarks/manifest/manifest.tsv")
    localrule: True
    params:
        p={"study": STUDY.study},
        code=code("manifest.py"),
    script:
        "../scripts/manifest.py"

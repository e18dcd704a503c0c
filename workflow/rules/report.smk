# in: all tables
# out: report/headline.parquet and .html (the numbers and what they say), report/study.html (settings,
#      versions, provenance); `make report` puts them and the figures together
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
    params:
        p={"study": STUDY.model_dump(exclude_none=True)},
        code=code("study_card.py"),
    script:
        "../scripts/study_card.py"

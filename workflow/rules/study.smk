# in: all tables of the study
# out: report/study.html (settings, versions, provenance), manifest.json (checksums of all of the study's files,
#      for `make verify`)
rule study_card:
    input:
        tables=TABLES,
        preflights=[file for file in MADE if file == results("preflight/rewards.json")],
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
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={"study": STUDY.model_dump(exclude_none=True)},
        code=code("study_card.py"),
    script:
        "../scripts/study_card.py"


rule manifest:
    input:
        # of the shards, the study's own links to them
        [f for f in MADE if f.startswith(results("")) and "/preflight/" not in f],
        rules.study_card.output,
    output:
        manifest=results("manifest.json"),
    log:
        results("logs/manifest/manifest.log"),
    benchmark:
        results("benchmarks/manifest/manifest.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={"study": STUDY.study},
        code=code("manifest.py"),
    script:
        "../scripts/manifest.py"

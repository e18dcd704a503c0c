# in: all tables
# out: report/headline.parquet and .html (the numbers and what they say), report/study.html (settings,
#      versions, provenance), on demand report/samples.html; `make report` puts them and the figures together
rule headline:
    input:
        frontier=results("limits/frontier.parquet"),
        best_of_n=results("limits/best_of_n.parquet"),
        scales=results("ensembles/scales.parquet"),
        standardised=results("ensembles/standardised.parquet"),
        summary=results("samples/summary.parquet"),
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
            results("prompts.parquet"),
            results("samples/summary.parquet"),
            results("ensembles/standardised.parquet"),
            results("limits/frontier.parquet"),
            results("limits/best_of_n.parquet"),
            results("report/headline.parquet"),
        ],
        # one shard of each kind, for the versions that made it
        samples=results(f"samples/{BASE}/{CHUNKS[0]}-{BLOCKS[0]}.parquet"),
        scores=expand(
            results("scores/{reward}/{chunk}-{block}.parquet"),
            reward=STUDY.rewards,
            chunk=CHUNKS[0],
            block=BLOCKS[0],
        ),
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
        p={"study": STUDY.model_dump()},
        code=code("study_card.py"),
    script:
        "../scripts/study_card.py"


rule sample_page:
    input:
        prompts=results("prompts.parquet"),
        samples=shards(f"samples/{BASE}/{{chunk}}-{{block}}.parquet"),
        standardised=results("ensembles/standardised.parquet"),
    output:
        html=report(
            results("report/samples.html"),
            caption="../report/sample_page.rst",
            category="4 Generated text",
            labels={"page": "samples (may offend)"},
        ),
    log:
        results("logs/sample_page/sample_page.log"),
    params:
        p={"gold": STUDY.gold},
        code=code("sample_page.py"),
    script:
        "../scripts/sample_page.py"


def report_pages():
    """Generated text is shown only when asked for."""
    return rules.sample_page.output if STUDY.report.show_samples else []

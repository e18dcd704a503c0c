# in: prompts, sample shards, standardised rewards
# out: report/samples.html: generated text, escaped, made only when report.show_samples asks for it
rule sample_page:
    input:
        prompts=results("prompts.parquet"),
        samples=LAYOUT.shards("samples/{chunk}-{block}.parquet"),
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
    benchmark:
        results("benchmarks/sample_page/sample_page.tsv")
    conda:
        ENVIRONMENT
    params:
        p={"gold": STUDY.gold},
        code=code("sample_page.py"),
    script:
        "../scripts/sample_page.py"


if STUDY.report.show_samples:
    MADE += rules.sample_page.output

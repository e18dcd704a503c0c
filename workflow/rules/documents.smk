# in: the fetched prompt source, which holds documents with references
# out: documents/documents.parquet (shared): a prompt for each document, and what rewards read beside replies
rule documents:
    input:
        source=LAYOUT.fetched(STUDY.prompts.source),
    output:
        folder=directory(LAYOUT.prompt_source),
    log:
        results("logs/documents/documents.log"),
    benchmark:
        results("benchmarks/documents/documents.tsv")
    priority: 100
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STUDY.documents.model_dump(),
        code=code("documents.py"),
    script:
        "../scripts/documents.py"

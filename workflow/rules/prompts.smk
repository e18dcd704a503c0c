# in: the fetched prompt source, or documents with references; the prompts of samples that exist are from samples.smk
# out: documents/ (shared): a prompt for each document, and the texts that rewards read alongside replies;
#      prompts/<chunk>.parquet (shared): the prompts of one shard; prompts.parquet: all prompts
from alignment_limits.study.sampling import chunk_range


wildcard_constraints:
    chunk=r"p\d+-\d+",


if STUDY.prompts:

    def chunk_settings(wildcards):
        first, end = chunk_range(wildcards.chunk)
        own = {"system": STUDY.prompts.system, "chat": STUDY.prompts.chat or None}
        return {key: value for key, value in own.items() if value is not None} | {
            "first": first,
            "end": end,
            "seed": STUDY.seed,
            "template": STUDY.prompts.template,
            "date": STUDY.prompts.date if STUDY.prompts.template == "chat" else None,
            "text_column": STUDY.prompts.text_column,
            "stratify_by": STUDY.prompts.stratify_by,
            "trust_remote_code": STUDY.model.trust_remote_code,
        }

    rule prompts_chunk:
        input:
            source=LAYOUT.prompt_source,
            model=LAYOUT.model if STUDY.prompts.template == "chat" else [],
        output:
            prompts=shared("prompts/{chunk}.parquet"),
        log:
            results("logs/prompts_chunk/{chunk}.log"),
        benchmark:
            results("benchmarks/prompts_chunk/{chunk}.tsv")
        priority: 90
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p=chunk_settings,
            code=code("prompts_chunk.py"),
        script:
            "../scripts/prompts_chunk.py"


rule prompts:
    input:
        chunks=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
    output:
        prompts=results("prompts.parquet"),
    log:
        results("logs/prompts/prompts.log"),
    benchmark:
        results("benchmarks/prompts/prompts.tsv")
    priority: 90
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={"study": STUDY.study},
        code=code("prompts.py"),
    script:
        "../scripts/prompts.py"


if STUDY.documents:

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

# in: a table of samples from another source (Parquet, CSV, JSONL, JSON), or files of another project's samples; perhaps a
#     file of prompts
# out: prompts/<part>.parquet and samples/<part>.parquet (shared): the same files as of samples of this workflow, with
#      a part of the prompts each; scores/<reward and its digest>/<part>.parquet (shared): columns of the table that
#      are rewards
from alignment_limits.study.starts import columns_of_prompts, needed_of_samples

if STUDY.samples.imported:

    include: "imports.smk"


SAMPLES_TABLE = (
    rules.import_samples.output.table
    if STUDY.samples.imported
    else users(STUDY.samples.table)
)


rule read_table_of_samples:
    input:
        table=SAMPLES_TABLE,
        prompts=users(STUDY.samples.prompts) if STUDY.samples.prompts else [],
        model=LAYOUT.model if STUDY.samples.template == "chat" and STUDY.model else [],
    output:
        prompts=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
        samples=LAYOUT.shards("samples/{chunk}-{block}.parquet"),
    log:
        results("logs/read_table_of_samples/samples.log"),
    benchmark:
        results("benchmarks/read_table_of_samples/samples.tsv")
    priority: 100
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={
            "needed": needed_of_samples(STUDY),
            "columns": columns_of_prompts(STUDY),
            "system": STUDY.samples.system,
            "date": STUDY.samples.date,
            **({"chat": STUDY.samples.chat} if STUDY.samples.chat else {}),
            "trust_remote_code": STUDY.model and STUDY.model.trust_remote_code,
        },
        code=code("read_table_of_samples.py"),
    script:
        "../scripts/read_table_of_samples.py"


# these files are drawn by the rule `sample` in other studies
if STUDY.sampling:

    ruleorder: read_table_of_samples > sample


if LAYOUT.of_kind("column"):

    rule read_scores_of_samples:
        input:
            table=SAMPLES_TABLE,
            samples=LAYOUT.shards("samples/{chunk}-{block}.parquet"),
        output:
            scores=LAYOUT.shards("scores/{scorer}/{chunk}-{block}.parquet"),
        log:
            results("logs/read_scores_of_samples/{scorer}.log"),
        benchmark:
            results("benchmarks/read_scores_of_samples/{scorer}.tsv")
        wildcard_constraints:
            scorer=one_of(LAYOUT.of_kind("column")),
        priority: 95
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p=lambda w: {
                "column": LAYOUT.of_kind("column")[w.scorer].column,
                "bounds": LAYOUT.of_kind("column")[w.scorer].bounds,
                "partial": LAYOUT.of_kind("column")[w.scorer].partial,
            },
            code=code("read_scores_of_samples.py"),
        script:
            "../scripts/read_scores_of_samples.py"

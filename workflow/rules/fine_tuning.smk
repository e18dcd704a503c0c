# in: samples of further prompts, gold's scores of them, the model that training starts at
# out: fine_tuned/<reward and its digest>/ (shared), a sequence classifier; the rules of rewards.smk score with it
FINE_TUNED = LAYOUT.of_kind("fine-tuned")


rule fine_tune:
    input:
        start=lambda w: LAYOUT.source_files(FINE_TUNED[w.scorer]),
        samples=LAYOUT.training_shards("samples/{chunk}-{block}.parquet"),
        gold=LAYOUT.gold_labels,
        prompts=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks),
        evaluation=results("prompts.parquet"),
    output:
        folder=directory(shared("fine_tuned/{scorer}")),
    log:
        results("logs/fine_tune/{scorer}.log"),
    benchmark:
        results("benchmarks/fine_tune/{scorer}.tsv")
    wildcard_constraints:
        scorer=one_of(FINE_TUNED),
    priority: 30
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=1,
    params:
        p=lambda w: FINE_TUNED[w.scorer].model_dump(exclude={"note", "kind", "source"})
        | STUDY.dated(LAYOUT.scorers[w.scorer]),
        code=code("fine_tune.py"),
    script:
        "../scripts/fine_tune.py"

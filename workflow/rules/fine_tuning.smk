# in: samples of further prompts, gold's scores of them, the model that training starts at
# out: fine_tuned/<reward and its digest>/ (shared), a sequence classifier; the rules of rewards.smk score with it
FINE_TUNED = {
    STUDY.scorer_id(name): reward
    for name, reward in STUDY.rewards.items()
    if reward.kind == "fine-tuned"
}


rule fine_tune:
    input:
        start=lambda w: source_files(FINE_TUNED[w.scorer]),
        samples=training_shards("samples/{chunk}-{block}.parquet"),
        gold=GOLD_LABELS,
        prompts=rules.train_head.input.prompts,
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
    envmodules:
        *MODULES,
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=1,
    params:
        p=lambda w: FINE_TUNED[w.scorer].model_dump(exclude={"note", "kind", "source"})
        | STUDY.dated(SCORERS[w.scorer]),
        code=code("fine_tune.py"),
    script:
        "../scripts/fine_tune.py"

# in: samples of further prompts, gold's scores of them, features of all samples
# out: heads/<reward and its digest>.safetensors, scores of trained rewards (all shared)
HEADS = LAYOUT.of_kind("trained")
# what of a trained reward's settings decides its head
FITTING = set("labels noise seed loss dimensions feature_seed".split())


rule train_head:
    input:
        features=lambda w: LAYOUT.feature_shards(HEADS[w.scorer], training=True),
        gold=LAYOUT.gold_labels,
        prompts=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks),
        evaluation=results("prompts.parquet"),
    output:
        head=shared("heads/{scorer}.safetensors"),
    log:
        results("logs/train_head/{scorer}.log"),
    benchmark:
        results("benchmarks/train_head/{scorer}.tsv")
    wildcard_constraints:
        scorer=one_of(HEADS),
    conda:
        ENVIRONMENT
    params:
        p=lambda w: HEADS[w.scorer].model_dump(include=FITTING),
        code=code("train_head.py"),
    script:
        "../scripts/train_head.py"


rule score_trained:
    input:
        features=lambda w: shared(
            f"features/{LAYOUT.encoder_id(HEADS[w.scorer])}/{w.chunk}-{w.block}.parquet"
        ),
        head=shared("heads/{scorer}.safetensors"),
    output:
        scores=shared("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/score_trained/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/score_trained/{scorer}/{chunk}-{block}.tsv")
    wildcard_constraints:
        scorer=one_of(HEADS),
    conda:
        ENVIRONMENT
    params:
        p=lambda w: {"sign": HEADS[w.scorer].sign},
        code=code("score_trained.py"),
    script:
        "../scripts/score_trained.py"

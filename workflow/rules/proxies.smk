# in: samples of further prompts, gold's scores of them, features of all samples
# out: heads/<reward and its digest>.safetensors, scores of trained rewards (all shared)
TRAINED = {
    STUDY.scorer_id(name): reward
    for name, reward in STUDY.rewards.items()
    if reward.kind == "trained"
}
TRAINING_BLOCKS = block_names(
    STUDY.gold_labels.samples_per_prompt, STUDY.sampling.block
)


def training_shards(pattern):
    """Shards of the training prompts' samples."""
    return expand(shared(pattern), chunk=TRAINING_CHUNKS, block=TRAINING_BLOCKS)


# what of a trained reward's settings decides its head
FITTING = set("labels noise seed loss dimensions feature_seed".split())
GOLD_LABELS = training_shards(
    f"scores/{STUDY.scorer_id(STUDY.gold)}/{{chunk}}-{{block}}.parquet"
)


rule train_head:
    input:
        features=lambda w: feature_shards(TRAINED[w.scorer], training_shards),
        gold=GOLD_LABELS,
        prompts=expand(shared("prompts/{chunk}.parquet"), chunk=TRAINING_CHUNKS),
        evaluation=results("prompts.parquet"),
    output:
        head=shared("heads/{scorer}.safetensors"),
    log:
        results("logs/train_head/{scorer}.log"),
    benchmark:
        results("benchmarks/train_head/{scorer}.tsv")
    wildcard_constraints:
        scorer=one_of(TRAINED),
    params:
        p=lambda w: TRAINED[w.scorer].model_dump(include=FITTING),
        code=code("train_head.py"),
    script:
        "../scripts/train_head.py"


rule score_trained:
    input:
        features=lambda w: shared(
            f"features/{encoder_id(TRAINED[w.scorer])}/{w.chunk}-{w.block}.parquet"
        ),
        head=shared("heads/{scorer}.safetensors"),
    output:
        scores=shared("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/score_trained/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/score_trained/{scorer}/{chunk}-{block}.tsv")
    wildcard_constraints:
        scorer=one_of(TRAINED),
    params:
        p=lambda w: {"sign": TRAINED[w.scorer].sign},
        code=code("score_trained.py"),
    script:
        "../scripts/score_trained.py"

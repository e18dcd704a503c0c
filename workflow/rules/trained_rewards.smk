# in: samples and prompts (the study's own, and others for training), their gold scores, the encoders' files
# out: features/<encoder>/<chunk>-<block>.parquet: the features of replies that heads and fitted rewards read;
#      heads/<reward and its digest>.safetensors and the scores of such a reward; fine_tuned/<reward and its digest>/: a
#      sequence classifier, used by the rules of rewards.smk (all shared); limits/proxies.parquet, proxy_onsets.parquet,
#      proxy_ensembles.parquet: proxies of many qualities, where gold peaks under each, and ensembles of many sizes;
#      report/proxies.html
HEADS = LAYOUT.of_kind("trained")
FINE_TUNED = LAYOUT.of_kind("fine-tuned")
# the settings of a trained reward that decide its head
FITTING = set("labels noise seed loss dimensions feature_seed".split())


rule features:
    input:
        samples=shared("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        files=lambda w: LAYOUT.fetched(LAYOUT.encoders[w.encoder].features),
    output:
        features=shared("features/{encoder}/{chunk}-{block}.parquet"),
    log:
        results("logs/features/{encoder}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/features/{encoder}/{chunk}-{block}.tsv")
    wildcard_constraints:
        encoder=one_of(LAYOUT.encoders),
    priority: 20
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    resources:
        gpu=GPU,
        mem_mb=MEMORY.of("features"),
    params:
        p=lambda w: {"text": LAYOUT.encoders[w.encoder].text},
        code=code("features.py"),
    script:
        "../scripts/features.py"


if STUDY.gold_labels:

    rule train_head:
        input:
            features=lambda w: LAYOUT.feature_shards(HEADS[w.scorer], training=True),
            gold=LAYOUT.gold_labels,
            prompts=expand(
                shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks
            ),
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

    def fine_tuning_settings(wildcards):
        settings = FINE_TUNED[wildcards.scorer].model_dump(
            exclude={"note", "bounds", "kind", "source"}
        )
        return settings | STUDY.dated(LAYOUT.scorers[wildcards.scorer])

    rule preflight_fine_tuning:
        input:
            start=lambda w: LAYOUT.source_files(FINE_TUNED[w.scorer]),
            prompts=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
            training=expand(
                shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks
            ),
        output:
            passed=results("preflight/fine_tuning/{scorer}.json"),
        log:
            results("logs/preflight_fine_tuning/{scorer}.log"),
        benchmark:
            results("benchmarks/preflight_fine_tuning/{scorer}.tsv")
        wildcard_constraints:
            scorer=one_of(FINE_TUNED),
        priority: 100
        conda:
            ENVIRONMENT
        envmodules:
            *MODULES,
        params:
            p=lambda w: {
                "name": LAYOUT.scorers[w.scorer],
                "optimized": LAYOUT.scorers[w.scorer] in LAYOUT.optimized,
                "settings": fine_tuning_settings(w),
            },
            code=code("preflight_fine_tuning.py"),
        script:
            "../scripts/preflight_fine_tuning.py"

    MADE += expand(results("preflight/fine_tuning/{scorer}.json"), scorer=FINE_TUNED)

    rule fine_tune:
        input:
            start=lambda w: LAYOUT.source_files(FINE_TUNED[w.scorer]),
            samples=LAYOUT.training_shards("samples/{chunk}-{block}.parquet"),
            gold=LAYOUT.gold_labels,
            prompts=expand(
                shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks
            ),
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
        threads: CORES
        resources:
            gpu=GPU,
            mem_mb=MEMORY.of("fine_tune"),
        params:
            p=fine_tuning_settings,
            code=code("fine_tune.py"),
        script:
            "../scripts/fine_tune.py"


if STUDY.gold_labels and STUDY.gold_labels.sweep:

    rule proxy_sweep:
        input:
            training=LAYOUT.feature_shards(STUDY.gold_labels.sweep, training=True),
            evaluation=LAYOUT.feature_shards(STUDY.gold_labels.sweep),
            gold=LAYOUT.gold_labels,
            training_prompts=expand(
                shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks
            ),
            evaluation_prompts=results("prompts.parquet"),
            standardised=results("ensembles/rewards.parquet"),
        output:
            proxies=results("limits/proxies.parquet"),
            onsets=results("limits/proxy_onsets.parquet"),
            ensembles=results("limits/proxy_ensembles.parquet"),
        log:
            results("logs/proxy_sweep/sweep.log"),
        benchmark:
            results("benchmarks/proxy_sweep/sweep.tsv")
        conda:
            ENVIRONMENT
        params:
            p=STUDY.gold_labels.sweep.model_dump(exclude={"features", "text"})
            | {
                "gold": STUDY.gold,
                "betas": STUDY.limits.ensemble_betas,
                "at_kl": STUDY.limits.reference_kl,
                "bootstrap": STUDY.limits.bootstrap,
                "seed": STUDY.seed,
            },
            code=code("proxy_sweep.py"),
        script:
            "../scripts/proxy_sweep.py"

    MADE += rules.proxy_sweep.output

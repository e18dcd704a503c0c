# in: samples, prompts, the encoders' files
# out: features/<encoder>/<chunk>-<block>.parquet (shared): what heads and fitted rewards see of a reply
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
    params:
        p=lambda w: {"text": LAYOUT.encoders[w.encoder].text},
        code=code("features.py"),
    script:
        "../scripts/features.py"

# in: scores of all rewards
# out: ensembles/scales.parquet (centre per prompt, scale), ensembles/standardised.parquet (every reward
#      and ensemble, one column each, on one scale)
rule standardise:
    input:
        LAYOUT.clusters,
        **{f"scores/{name}": LAYOUT.score_files(name) for name in STUDY.reward_names},
    output:
        scales=results("ensembles/scales.parquet"),
        standardised=results("ensembles/rewards.parquet"),
    log:
        results("logs/standardise/standardise.log"),
    benchmark:
        results("benchmarks/standardise/standardise.tsv")
    conda:
        ENVIRONMENT
    params:
        p={"rewards": STUDY.reward_names},
        code=code("standardise.py"),
    script:
        "../scripts/standardise.py"


rule ensembles:
    input:
        standardised=results("ensembles/rewards.parquet"),
    output:
        standardised=results("ensembles/standardised.parquet"),
    log:
        results("logs/ensembles/ensembles.log"),
    benchmark:
        results("benchmarks/ensembles/ensembles.tsv")
    conda:
        ENVIRONMENT
    params:
        p={name: e.model_dump() for name, e in STUDY.ensembles.items()},
        code=code("ensembles.py"),
    script:
        "../scripts/ensembles.py"

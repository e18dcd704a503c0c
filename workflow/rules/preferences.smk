# in: sample shards (their log-probabilities), standardised rewards
# out: preferences/<setting>.parquet: pairs of samples and which was preferred
PREFERENCES = [
    results(f"preferences/{setting}.parquet") for setting in STUDY.preferences.settings
]


rule preferences:
    input:
        standardised=results("ensembles/rewards.parquet"),
        samples=[] if STUDY.scores else shards("samples/{chunk}-{block}.parquet"),
    output:
        preferences=results("preferences/{setting}.parquet"),
    log:
        results("logs/preferences/{setting}.log"),
    benchmark:
        results("benchmarks/preferences/{setting}.tsv")
    params:
        p=lambda wildcards: STUDY.preferences.model_dump(exclude={"settings"})
        | {
            "gold": STUDY.gold,
            "setting": wildcards.setting,
            "levels": STUDY.preferences.settings[wildcards.setting],
            "seed": STUDY.seed,
        },
        code=code("preferences.py"),
    script:
        "../scripts/preferences.py"


MADE += PREFERENCES

# in: sample shards (their log-probabilities), standardised rewards; a user's own pairs
# out: preferences/<setting>.parquet: pairs of samples with the preferred one (setting `table`: the user's pairs);
#      preferences/rewards/<setting>.parquet: Bradley-Terry rewards fitted to them
PAIRS_OF = [
    *STUDY.preferences.settings,
    *(["table"] if STUDY.preferences.table else []),
]
PREFERENCES = [
    *[results(f"preferences/{setting}.parquet") for setting in PAIRS_OF],
    *[results(f"preferences/rewards/{setting}.parquet") for setting in PAIRS_OF],
]
JUDGED = {
    "standardised": results("ensembles/rewards.parquet"),
    "samples": [] if STUDY.scores else LAYOUT.shards("samples/{chunk}-{block}.parquet"),
}
JUDGES = STUDY.preferences.model_dump(include={"reward", "beta", "gamma"}) | {
    "gold": STUDY.gold,
    "seed": STUDY.seed,
}


wildcard_constraints:
    setting="[a-z-]+",


ruleorder: import_preferences > preferences


rule preferences:
    input:
        **JUDGED,
    output:
        preferences=results("preferences/{setting}.parquet"),
    log:
        results("logs/preferences/{setting}.log"),
    benchmark:
        results("benchmarks/preferences/{setting}.tsv")
    conda:
        ENVIRONMENT
    params:
        p=lambda wildcards: JUDGES
        | {
            "pairs_per_prompt": STUDY.preferences.pairs_per_prompt,
            "setting": wildcards.setting,
            "levels": STUDY.preferences.settings[wildcards.setting],
        },
        code=code("preferences.py"),
    script:
        "../scripts/preferences.py"


rule import_preferences:
    input:
        **JUDGED,
        table=users(STUDY.preferences.table) if STUDY.preferences.table else [],
    output:
        preferences=results("preferences/table.parquet"),
    log:
        results("logs/import_preferences/table.log"),
    benchmark:
        results("benchmarks/import_preferences/table.tsv")
    conda:
        ENVIRONMENT
    params:
        p=JUDGES,
        code=code("import_preferences.py"),
    script:
        "../scripts/import_preferences.py"


rule fit_rewards:
    input:
        preferences=results("preferences/{setting}.parquet"),
    output:
        rewards=results("preferences/rewards/{setting}.parquet"),
    log:
        results("logs/fit_rewards/{setting}.log"),
    benchmark:
        results("benchmarks/fit_rewards/{setting}.tsv")
    conda:
        ENVIRONMENT
    params:
        p={"prior_sd": STUDY.preferences.prior_sd},
        code=code("fit_rewards.py"),
    script:
        "../scripts/fit_rewards.py"


MADE += PREFERENCES

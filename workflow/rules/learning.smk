# in: only the study file; worlds and pairs are drawn, and policies are solved exactly
# out: learning/sweep/ (every learned policy), learning/rates.parquet (the chosen ones, with their exact distance to the
#      target), learning/summary.parquet and slopes.parquet (over seeds), learning/gamma.parquet, figures,
#      report/learning.html
LEARNING = STUDY.learning
AT_ONCE = 16  # seeds per job
SWEEPS = [
    results(f"learning/sweep/{setting}/{level:g}/{first}.parquet")
    for setting, levels in LEARNING.settings.items()
    for level in levels
    for first in range(0, LEARNING.seeds, AT_ONCE)
]
GAMMA = [results("learning/gamma.parquet")] if LEARNING.estimate_gamma else []


rule learn:
    output:
        sweep=results("learning/sweep/{setting}/{level}/{first}.parquet"),
    log:
        results("logs/learn/{setting}/{level}/{first}.log"),
    benchmark:
        results("benchmarks/learn/{setting}/{level}/{first}.tsv")
    conda:
        ENVIRONMENT
    params:
        p=lambda wildcards: LEARNING.model_dump(
            include={"world", "n", "objectives", "betas", "folds", "prior_sd"}
        )
        | {
            "setting": wildcards.setting,
            "level": float(wildcards.level),
            "seeds": [
                int(wildcards.first),
                min(int(wildcards.first) + AT_ONCE, LEARNING.seeds),
            ],
            "seed": STUDY.seed,
        },
        code=code("learn.py"),
    script:
        "../scripts/learn.py"


rule rates:
    input:
        sweep=SWEEPS,
    output:
        rates=results("learning/rates.parquet"),
        summary=results("learning/summary.parquet"),
        slopes=results("learning/slopes.parquet"),
    log:
        results("logs/rates/rates.log"),
    benchmark:
        results("benchmarks/rates/rates.tsv")
    conda:
        ENVIRONMENT
    params:
        p=LEARNING.model_dump(include={"fixed_betas", "slope_from"}),
        code=code("rates.py"),
    script:
        "../scripts/rates.py"


rule gamma:
    output:
        gamma=results("learning/gamma.parquet"),
    log:
        results("logs/gamma/gamma.log"),
    benchmark:
        results("benchmarks/gamma/gamma.tsv")
    conda:
        ENVIRONMENT
    params:
        p=LEARNING.model_dump(include={"world", "n", "seeds", "estimate_gamma"})
        | {"seed": STUDY.seed},
        code=code("gamma.py"),
    script:
        "../scripts/gamma.py"


TABLES += [*rules.rates.output, *GAMMA]
MADE += [
    *SWEEPS,
    *rules.rates.output,
    *GAMMA,
]

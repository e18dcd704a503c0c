# in: ensembles/standardised.parquet
# out: limits/frontier.parquet, limits/best_of_n.parquet
PAIRS = {"gold": STUDY.gold, "optimized": [*STUDY.reward_names, *STUDY.ensembles]}


rule frontier:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        frontier=results("limits/frontier.parquet"),
    log:
        results("logs/frontier/frontier.log"),
    params:
        p=PAIRS
        | {
            "betas": STUDY.limits.betas,
            "kls": STUDY.limits.kls,
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("frontier.py"),
    script:
        "../scripts/frontier.py"


rule best_of_n:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        best_of_n=results("limits/best_of_n.parquet"),
    log:
        results("logs/best_of_n/best_of_n.log"),
    params:
        p=PAIRS
        | {
            "best_of": STUDY.limits.best_of,
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("best_of_n.py"),
    script:
        "../scripts/best_of_n.py"

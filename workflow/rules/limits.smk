# in: scores of all rewards
# out: ensembles/scales.parquet (centre per prompt, scale), ensembles/standardised.parquet (every reward and ensemble, one
#      column each, on one scale); limits/frontier.parquet, limits/best_of_n.parquet; limits/proxy_gap.parquet,
#      limits/over_optimisation.parquet, limits/ensembles.parquet (what a wrong reward costs, and where it turns);
#      on demand limits/plan.parquet (what a study would need, with this one as its pilot)
PAIRS = {"gold": STUDY.gold, "optimized": [*STUDY.reward_names, *STUDY.ensembles]}


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


rule frontier:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        frontier=results("limits/frontier.parquet"),
    log:
        results("logs/frontier/frontier.log"),
    benchmark:
        results("benchmarks/frontier/frontier.tsv")
    conda:
        ENVIRONMENT
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
    benchmark:
        results("benchmarks/best_of_n/best_of_n.tsv")
    priority: 1
    conda:
        ENVIRONMENT
    params:
        p=PAIRS
        | {
            "relatives_of": STUDY.reward_names,
            "best_of": STUDY.limits.best_of,
            "soft_temperatures": STUDY.limits.soft_temperatures,
            "pessimism_betas": STUDY.limits.pessimism_betas,
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("best_of_n.py"),
    script:
        "../scripts/best_of_n.py"


rule proxy_gap:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        proxy_gap=results("limits/proxy_gap.parquet"),
    log:
        results("logs/proxy_gap/proxy_gap.log"),
    benchmark:
        results("benchmarks/proxy_gap/proxy_gap.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "optimized": [*STUDY.proxies, *STUDY.ensembles],
            "betas": STUDY.limits.betas,
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("proxy_gap.py"),
    script:
        "../scripts/proxy_gap.py"


rule over_optimisation:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        table=results("limits/over_optimisation.parquet"),
    log:
        results("logs/over_optimisation/over_optimisation.log"),
    benchmark:
        results("benchmarks/over_optimisation/over_optimisation.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "optimized": [*STUDY.proxies, *STUDY.ensembles],
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("over_optimisation.py"),
    script:
        "../scripts/over_optimisation.py"


rule ensemble_gaps:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        ensembles=results("limits/ensembles.parquet"),
    log:
        results("logs/ensemble_gaps/ensembles.log"),
    benchmark:
        results("benchmarks/ensemble_gaps/ensembles.tsv")
    priority: 2  # the longest of its level starts first
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "proxies": STUDY.proxies,
            "betas": STUDY.limits.ensemble_betas,
            "at_kl": STUDY.limits.reference_kl,
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("ensemble_gaps.py"),
    script:
        "../scripts/ensemble_gaps.py"


rule plan:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        plan=results("limits/plan.parquet"),
    log:
        results("logs/plan/plan.log"),
    benchmark:
        results("benchmarks/plan/plan.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "kls": STUDY.limits.kls,
            "half_width": STUDY.limits.half_width,
            "seed": STUDY.seed,
        },
        code=code("plan.py"),
    script:
        "../scripts/plan.py"


TABLES += [
    results("ensembles/standardised.parquet"),
    results("limits/frontier.parquet"),
    results("limits/best_of_n.parquet"),
    results("limits/over_optimisation.parquet"),
]
MADE += [
    *rules.standardise.output,
    *rules.ensembles.output,
    *rules.frontier.output,
    *rules.best_of_n.output,
    *rules.proxy_gap.output,
    *rules.over_optimisation.output,
    *(rules.ensemble_gaps.output if len(STUDY.proxies) > 1 else []),
]

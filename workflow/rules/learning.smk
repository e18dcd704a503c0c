# in: nothing but the study file: worlds, pairs and policies are drawn and solved exactly
# out: learning/sweep/ (every policy learned), learning/rates.parquet (those chosen, at exact distance to the target),
#      learning/summary.parquet and slopes.parquet (over seeds), learning/gamma.parquet, figures, report/learning.html
LEARNING = STUDY.learning
AT_ONCE = 16  # seeds a job
SWEEPS = [
    results(f"learning/sweep/{setting}/{level:g}/{first}.parquet")
    for setting, levels in LEARNING.settings.items()
    for level in levels
    for first in range(0, LEARNING.seeds, AT_ONCE)
]
LEARNING_FIGURES = [
    *(["learning_rates", "learning_floors"] if len(LEARNING.n) > 2 else []),
    *(
        ["learning_settings"]
        if any(len(v) > 1 for v in LEARNING.settings.values())
        else []
    ),
    *(["gamma"] if LEARNING.estimate_gamma else []),
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


rule figure_learning_rates:
    input:
        summary=results("learning/summary.parquet"),
    output:
        pdf=results("figures/learning_rates.pdf"),
        png=report(
            results("figures/learning_rates.png"),
            caption="../report/figure_learning_rates.rst",
            category="1 Learning from preferences",
            labels={"figure": "distance to the target against pairs"},
        ),
    log:
        results("logs/figure_learning_rates/figure.log"),
    benchmark:
        results("benchmarks/figure_learning_rates/figure.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "figures": STUDY.figures.model_dump(),
            "objectives": LEARNING.objectives,
        },
        code=code("figure_learning_rates.py"),
    script:
        "../scripts/figure_learning_rates.py"


rule figure_learning_floors:
    input:
        summary=results("learning/summary.parquet"),
        slopes=results("learning/slopes.parquet"),
    output:
        pdf=results("figures/learning_floors.pdf"),
        png=report(
            results("figures/learning_floors.png"),
            caption="../report/figure_learning_floors.rst",
            category="1 Learning from preferences",
            labels={"figure": "floors at fixed coefficients"},
        ),
    log:
        results("logs/figure_learning_floors/figure.log"),
    benchmark:
        results("benchmarks/figure_learning_floors/figure.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "figures": STUDY.figures.model_dump(),
            "objectives": LEARNING.objectives,
        },
        code=code("figure_learning_floors.py"),
    script:
        "../scripts/figure_learning_floors.py"


rule figure_learning_settings:
    input:
        summary=results("learning/summary.parquet"),
    output:
        pdf=results("figures/learning_settings.pdf"),
        png=report(
            results("figures/learning_settings.png"),
            caption="../report/figure_learning_settings.rst",
            category="1 Learning from preferences",
            labels={"figure": "distance to the target setting by setting"},
        ),
    log:
        results("logs/figure_learning_settings/figure.log"),
    benchmark:
        results("benchmarks/figure_learning_settings/figure.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "figures": STUDY.figures.model_dump(),
            "objectives": LEARNING.objectives,
        },
        code=code("figure_learning_settings.py"),
    script:
        "../scripts/figure_learning_settings.py"


rule figure_gamma:
    input:
        gamma=GAMMA,
    output:
        pdf=results("figures/gamma.pdf"),
        png=report(
            results("figures/gamma.png"),
            caption="../report/figure_gamma.rst",
            category="1 Learning from preferences",
            labels={"figure": "gamma estimated from preferences"},
        ),
    log:
        results("logs/figure_gamma/figure.log"),
    benchmark:
        results("benchmarks/figure_gamma/figure.tsv")
    conda:
        ENVIRONMENT
    params:
        p={"figures": STUDY.figures.model_dump(), "gamma": LEARNING.world.gamma},
        code=code("figure_gamma.py"),
    script:
        "../scripts/figure_gamma.py"


rule learning_page:
    input:
        rates=results("learning/rates.parquet"),
        summary=results("learning/summary.parquet"),
        slopes=results("learning/slopes.parquet"),
        gamma=GAMMA,
    output:
        html=report(
            results("report/learning.html"),
            caption="../report/learning_page.rst",
            category="0 Summary",
            labels={"page": "claims of the paper, with numbers"},
        ),
    log:
        results("logs/learning_page/learning_page.log"),
    benchmark:
        results("benchmarks/learning_page/learning_page.tsv")
    conda:
        ENVIRONMENT
    params:
        p=LEARNING.model_dump(
            include={"world", "slope_from", "objectives", "seeds", "settings"}
        ),
        code=code("learning_page.py"),
    script:
        "../scripts/learning_page.py"


TABLES += [*rules.rates.output, *GAMMA]
MADE += [
    *SWEEPS,
    *rules.rates.output,
    *GAMMA,
    *rules.learning_page.output,
    *expand(
        results("figures/{figure}.{kind}"),
        figure=LEARNING_FIGURES,
        kind=["pdf", "png"],
    ),
]

# in: limits/*.parquet, ensembles/standardised.parquet
# out: figures/<figure>.pdf and .png, a caption for each in workflow/report/
STYLE = {"figures": STUDY.figures.model_dump()}


rule figure_frontier:
    input:
        frontier=results("limits/frontier.parquet"),
        best_of_n=results("limits/best_of_n.parquet"),
    output:
        pdf=results("figures/frontier.pdf"),
        png=report(
            results("figures/frontier.png"),
            caption="../report/figure_frontier.rst",
            category="1 Limits",
            labels={"figure": "KL-reward frontier and best-of-n"},
        ),
    log:
        results("logs/figure_frontier/figure.log"),
    benchmark:
        results("benchmarks/figure_frontier/figure.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STYLE | {"gold": STUDY.gold},
        code=code("figure_frontier.py"),
    script:
        "../scripts/figure_frontier.py"


rule figure_gold_under_proxies:
    input:
        frontier=results("limits/frontier.parquet"),
    output:
        pdf=results("figures/gold_under_proxies.pdf"),
        png=report(
            results("figures/gold_under_proxies.png"),
            caption="../report/figure_gold_under_proxies.rst",
            category="2 Proxies and ensembles",
            labels={"figure": "gold reward when a proxy is optimised"},
        ),
    log:
        results("logs/figure_gold_under_proxies/figure.log"),
    benchmark:
        results("benchmarks/figure_gold_under_proxies/figure.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STYLE
        | {
            "gold": STUDY.gold,
            "proxies": STUDY.proxies,
            "ensembles": list(STUDY.ensembles),
        },
        code=code("figure_gold_under_proxies.py"),
    script:
        "../scripts/figure_gold_under_proxies.py"


rule figure_reward_distributions:
    input:
        standardised=results("ensembles/standardised.parquet"),
    output:
        pdf=results("figures/reward_distributions.pdf"),
        png=report(
            results("figures/reward_distributions.png"),
            caption="../report/figure_reward_distributions.rst",
            category="3 Rewards on base samples",
            labels={"figure": "distributions of the rewards"},
        ),
    log:
        results("logs/figure_reward_distributions/figure.log"),
    benchmark:
        results("benchmarks/figure_reward_distributions/figure.tsv")
    conda:
        ENVIRONMENT
    params:
        p=STYLE | {"gold": STUDY.gold, "rewards": STUDY.reward_names},
        code=code("figure_reward_distributions.py"),
    script:
        "../scripts/figure_reward_distributions.py"


rule figure_ensemble_gap:
    input:
        ensembles=results("limits/ensembles.parquet"),
    output:
        pdf=results("figures/ensemble_gap.pdf"),
        png=report(
            results("figures/ensemble_gap.png"),
            caption="../report/figure_ensemble_gap.rst",
            category="2 Proxies and ensembles",
            labels={"figure": "cost of a wrong reward against ensemble size"},
        ),
    log:
        results("logs/figure_ensemble_gap/figure.log"),
    benchmark:
        results("benchmarks/figure_ensemble_gap/figure.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STYLE
        | {
            "gold": STUDY.gold,
            "beta": max(STUDY.limits.ensemble_betas),  # the gentlest tilt is told best
        },
        code=code("figure_ensemble_gap.py"),
    script:
        "../scripts/figure_ensemble_gap.py"


rule figure_win_rate:
    input:
        best_of_n=results("limits/best_of_n.parquet"),
    output:
        pdf=results("figures/win_rate.pdf"),
        png=report(
            results("figures/win_rate.png"),
            caption="../report/figure_win_rate.rst",
            category="1 Limits",
            labels={"figure": "win rate of best-of-n and its relatives"},
        ),
    log:
        results("logs/figure_win_rate/figure.log"),
    benchmark:
        results("benchmarks/figure_win_rate/figure.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STYLE
        | {
            "gold": STUDY.gold,
            "proxies": STUDY.proxies,
            "ensembles": list(STUDY.ensembles),
        },
        code=code("figure_win_rate.py"),
    script:
        "../scripts/figure_win_rate.py"


rule figure_over_optimisation:
    input:
        over_optimisation=results("limits/over_optimisation.parquet"),
        frontier=results("limits/frontier.parquet"),
        best_of_n=results("limits/best_of_n.parquet"),
    output:
        pdf=results("figures/over_optimisation.pdf"),
        png=report(
            results("figures/over_optimisation.png"),
            caption="../report/figure_over_optimisation.rst",
            category="2 Proxies and ensembles",
            labels={"figure": "over-optimisation: where gold peaks"},
        ),
    log:
        results("logs/figure_over_optimisation/figure.log"),
    benchmark:
        results("benchmarks/figure_over_optimisation/figure.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STYLE
        | {
            "gold": STUDY.gold,
            "proxies": STUDY.proxies,
            "ensembles": list(STUDY.ensembles),
        },
        code=code("figure_over_optimisation.py"),
    script:
        "../scripts/figure_over_optimisation.py"


rule figure_proxy_quality:
    input:
        proxies=results("limits/proxies.parquet"),
        ensembles=results("limits/proxy_ensembles.parquet"),
    output:
        pdf=results("figures/proxy_quality.pdf"),
        png=report(
            results("figures/proxy_quality.png"),
            caption="../report/figure_proxy_quality.rst",
            category="2 Proxies and ensembles",
            labels={"figure": "proxies of every quality, ensembles of every size"},
        ),
    log:
        results("logs/figure_proxy_quality/figure.log"),
    benchmark:
        results("benchmarks/figure_proxy_quality/figure.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=STYLE
        | {
            "gold": STUDY.gold,
            "beta": max(STUDY.limits.ensemble_betas),  # the gentlest tilt is told best
        },
        code=code("figure_proxy_quality.py"),
    script:
        "../scripts/figure_proxy_quality.py"

# in: features and gold labels of the training prompts, features and gold of the study's
# out: limits/proxies.parquet, limits/proxy_onsets.parquet, limits/proxy_ensembles.parquet (proxies of every quality,
#      where gold peaks under each, ensembles of every size), report/proxies.html
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


rule proxies_page:
    input:
        proxies=results("limits/proxies.parquet"),
        onsets=results("limits/proxy_onsets.parquet"),
        ensembles=results("limits/proxy_ensembles.parquet"),
    output:
        html=report(
            results("report/proxies.html"),
            caption="../report/proxies_page.rst",
            category="0 Summary",
            labels={"page": "trained proxies and their ensembles"},
        ),
    log:
        results("logs/proxies_page/proxies_page.log"),
    benchmark:
        results("benchmarks/proxies_page/proxies_page.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={"gold": STUDY.gold},
        code=code("proxies_page.py"),
    script:
        "../scripts/proxies_page.py"


MADE += [*rules.proxy_sweep.output, *rules.proxies_page.output]

# in: every reply of an enumerable study, its score by the target's reward, its log-probability under every policy
# out: exact/targets.parquet: exact distances to the preferences' target beside the estimates
rule exact_targets:
    input:
        replies=LAYOUT.every("replies.parquet"),
        scores=LAYOUT.every("{scorer}.parquet").format(
            scorer=STUDY.scorer_id(TARGET["reward"])
        ),
        logprobs=results("exact/logprobs.parquet"),
        scales=results("ensembles/scales.parquet"),
        standardised=results("ensembles/rewards.parquet"),
        targets=results("policies/targets.parquet"),
    output:
        targets=results("exact/targets.parquet"),
    log:
        results("logs/exact_targets/targets.log"),
    benchmark:
        results("benchmarks/exact_targets/targets.tsv")
    conda:
        ENVIRONMENT
    params:
        p=TARGET | {"policies": [policy.name for policy in STUDY.all_policies]},
        code=code("exact_targets.py"),
    script:
        "../scripts/exact_targets.py"


MADE += rules.exact_targets.output

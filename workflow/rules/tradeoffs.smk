# in: samples, or a table of scores
# out: tradeoffs/columns.parquet (length and the like of each sample); tradeoffs/policy_columns.parquet (of policies'
#      replies). The estimators that read them are those of rules/limits.smk
rule sample_columns:
    input:
        **(
            {
                "table": (
                    results("scores/imported.parquet")
                    if STUDY.scores.imported
                    else users(STUDY.scores.table)
                )
            }
            if STUDY.scores
            else {"samples": LAYOUT.shards("samples/{chunk}-{block}.parquet")}
        ),
    output:
        columns=results("tradeoffs/columns.parquet"),
    log:
        results("logs/sample_columns/sample_columns.log"),
    benchmark:
        results("benchmarks/sample_columns/sample_columns.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={
            "refusals": STUDY.tradeoffs.refusals,
            "numbers": STUDY.tradeoffs.numbers,
            "texts": STUDY.tradeoffs.texts,
        },
        code=code("sample_columns.py"),
    script:
        "../scripts/sample_columns.py"


TABLES += rules.sample_columns.output
MADE += rules.sample_columns.output


if STUDY.all_policies:

    rule policy_columns:
        input:
            **{
                f"{policy.name}/samples": LAYOUT.policy_shards(
                    LAYOUT.kinds(policy_id)["samples"]
                )
                for policy_id, policy in LAYOUT.policies.items()
            },
        output:
            columns=results("tradeoffs/policy_columns.parquet"),
        log:
            results("logs/policy_columns/policy_columns.log"),
        benchmark:
            results("benchmarks/policy_columns/policy_columns.tsv")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p={
                "policies": [policy.name for policy in STUDY.all_policies],
                "refusals": STUDY.tradeoffs.refusals,
            },
            code=code("policy_columns.py"),
        script:
            "../scripts/policy_columns.py"

    TABLES += rules.policy_columns.output
    MADE += rules.policy_columns.output

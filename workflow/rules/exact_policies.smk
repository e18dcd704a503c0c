# in: every reply of an enumerable study, its policies
# out: exact/logprobs.parquet: log-probability of every reply under every policy
from alignment_limits.study.layout import POLICY_FOLDER


# one job for all: what takes time is starting
rule exact_policies:
    input:
        **{
            f"policies/{policy.name}": POLICY_FOLDER.format(policy=policy_id)
            for policy_id, policy in LAYOUT.policies.items()
        },
        base=LAYOUT.model,
        prompts=LAYOUT.every_prompt,
        replies=LAYOUT.every("replies.parquet"),
    output:
        policies=results("exact/logprobs.parquet"),
    log:
        results("logs/exact_policies/policies.log"),
    benchmark:
        results("benchmarks/exact_policies/policies.tsv")
    conda:
        ENVIRONMENT
    params:
        p=LISTING | {"policies": [policy.name for policy in LAYOUT.policies.values()]},
        code=code("exact_policies.py"),
    script:
        "../scripts/exact_policies.py"

# in: every reply of an enumerable study, its policies
# out: exact/logprobs.parquet: log-probability of every reply under every policy


# one job for all: what takes time is starting
rule exact_policies:
    input:
        **{
            f"policies/{policy.name}": POLICY_FOLDER.format(policy=policy_id)
            for policy_id, policy in POLICIES.items()
        },
        base=MODEL_FOLDER,
        prompts=EVERY_PROMPT,
        replies=REPLIES,
    output:
        policies=results("exact/logprobs.parquet"),
    log:
        results("logs/exact_policies/policies.log"),
    benchmark:
        results("benchmarks/exact_policies/policies.tsv")
    params:
        p=LISTING | {"policies": [policy.name for policy in POLICIES.values()]},
        code=code("exact_policies.py"),
    script:
        "../scripts/exact_policies.py"

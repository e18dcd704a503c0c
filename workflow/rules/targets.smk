# in: the target of the preferences (the base's samples tilted by a reward), policies with their samples, scores and KLs
# out: policies/targets.parquet: the distance of each policy from the target; exact/targets.parquet: exact distances
#      alongside the estimates, if all replies can be listed; figures, report/targets.html
TARGET = {
    "reward": STUDY.preferences.reward or STUDY.gold,
    "beta": STUDY.preferences.beta,
}


def targets_inputs():
    """Shards of each policy: scores by the target's reward and KLs of its own samples, and the base's samples."""
    files = {}
    for policy_id, policy in LAYOUT.policies.items():
        of = LAYOUT.kinds(policy_id)
        for name, kind in (("scores", f"scores/{TARGET['reward']}"), ("kl", "kl")):
            files[f"{policy.name}/{name}"] = LAYOUT.policy_shards(of[kind])
        files[f"{policy.name}/on_base"] = LAYOUT.on_base(policy_id)
    return files


rule targets:
    input:
        **targets_inputs(),
        standardised=results("ensembles/rewards.parquet"),
        scales=results("ensembles/scales.parquet"),
    output:
        targets=results("policies/targets.parquet"),
    log:
        results("logs/targets/targets.log"),
    benchmark:
        results("benchmarks/targets/targets.tsv")
    conda:
        ENVIRONMENT
    params:
        p=TARGET
        | {
            "policies": {
                policy.name: policy.labels
                | {
                    name: getattr(policy, name, None)
                    for name in ("coefficient", "setting", "pairs")
                }
                for policy in STUDY.all_policies
            },
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("targets.py"),
    script:
        "../scripts/targets.py"


MADE += [
    *rules.targets.input,
    *rules.targets.output,
]


if STUDY.enumerable:

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

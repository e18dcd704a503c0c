# in: the base model and policies, whose replies can all be listed; the tables of estimates
# out: exact/frontier.parquet, exact/best_of_n.parquet, exact/policies.parquet, exact/tempered.parquet (every exact value alongside its
#      estimate); exact/logprobs.parquet: log-probability of every reply under every policy; enumerable/replies.parquet:
#      every reply to every prompt, with its exact log-probability, and its scores (shared)
LISTING = {
    "template": STUDY.prompts.template,
    "temperature": STUDY.sampling.temperature,
    "top_p": STUDY.sampling.top_p,
    "max_new_tokens": STUDY.sampling.max_new_tokens,
    "trust_remote_code": STUDY.model.trust_remote_code,
}
EXACT = [
    "frontier",
    "best_of_n",
    *(["policies"] if STUDY.all_policies else []),
    *(["tempered"] if STUDY.tempered else []),
]


rule exact_replies:
    input:
        base=LAYOUT.model,
        prompts=LAYOUT.every_prompt,
    output:
        replies=LAYOUT.every("replies.parquet"),
    log:
        results("logs/exact_replies/replies.log"),
    benchmark:
        results("benchmarks/exact_replies/replies.tsv")
    conda:
        ENVIRONMENT
    params:
        p=LISTING,
        code=code("exact_replies.py"),
    script:
        "../scripts/exact_replies.py"


use rule score as exact_score with:
    input:
        samples=LAYOUT.every("replies.parquet"),
        prompts=LAYOUT.every_prompt,
        files=lambda w: LAYOUT.scoring_files(LAYOUT.scorers[w.scorer]),
    output:
        scores=LAYOUT.every("{scorer}.parquet"),
    log:
        results("logs/exact_score/{scorer}.log"),
    benchmark:
        results("benchmarks/exact_score/{scorer}.tsv")


use rule score_sum as exact_score_sum with:
    input:
        unpack(terms_in(LAYOUT.every("{scorer}.parquet"))),
    output:
        scores=LAYOUT.every("{scorer}.parquet"),
    log:
        results("logs/exact_score_sum/{scorer}.log"),
    benchmark:
        results("benchmarks/exact_score_sum/{scorer}.tsv")


if STUDY.all_policies:

    # one job for all, because most of the time is start-up
    rule exact_policies:
        input:
            **{
                f"policies/{policy.name}": LAYOUT.policy_folder(policy_id)
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
            p=LISTING
            | {
                "policies": {
                    policy.name: LAYOUT.law(policy_id)
                    for policy_id, policy in LAYOUT.policies.items()
                }
            },
            code=code("exact_policies.py"),
        script:
            "../scripts/exact_policies.py"


def exact_inputs():
    """Every reply with its scores and log-probabilities, and the tables of estimates."""
    files = {
        f"scores/{reward}": LAYOUT.every("{scorer}.parquet").format(
            scorer=STUDY.scorer_id(reward)
        )
        for reward in STUDY.rewards
    }
    files |= {
        "replies": LAYOUT.every("replies.parquet"),
        "standardised": results("ensembles/rewards.parquet"),
        "scales": results("ensembles/scales.parquet"),
        "frontier": results("limits/frontier.parquet"),
        "best_of_n": results("limits/best_of_n.parquet"),
    }
    if STUDY.tempered:
        files["tempered"] = results("limits/tempered.parquet")
    if STUDY.all_policies:
        files |= {
            "logprobs": results("exact/logprobs.parquet"),
            "policies": results("policies/policies.parquet"),
        }
    return files


rule exact:
    input:
        **exact_inputs(),
    output:
        **{name: results(f"exact/{name}.parquet") for name in EXACT},
    log:
        results("logs/exact/exact.log"),
    benchmark:
        results("benchmarks/exact/exact.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "rewards": list(STUDY.rewards),
            "ensembles": {name: e.model_dump() for name, e in STUDY.ensembles.items()},
            "policies": [policy.name for policy in STUDY.all_policies],
        },
        code=code("exact.py"),
    script:
        "../scripts/exact.py"


MADE += [
    *rules.exact.output,
]

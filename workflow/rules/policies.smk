# in: policies (checkpoints, adapters), prompts, the base model, standardised rewards of its samples
# out: policies/<policy>/{samples,scores/<reward>,kl}/<chunk>-<block>.parquet, sampled and scored as the base is;
#      policies/policies.parquet: where each stands beside the limit
from alignment_limits.files import digest

POLICIES = {policy.name: policy for policy in STUDY.policies}
# One seed for all policies, so that they are compared under common noise; another than the base's, whose
# samples also make the limit.
POLICY_SEED = plan.block_seed(STUDY.seed, "policies", 0)


wildcard_constraints:
    policy="|".join(map(re.escape, POLICIES)),
    made="[0-9a-f]{8}",


def policy_folder(policy):
    """Plain model folder of a policy, shared by all studies of this base."""
    made_of = POLICIES[policy].source.model_dump() | {"base": MODEL_FOLDER}
    return f"results/models/policies/{policy}/{digest(made_of)[:8]}"


def policy_shards(policy, kind):
    """All shards of one kind of a policy: samples, kl, scores/<reward>."""
    pattern = results(f"policies/{policy}/{kind}/{{chunk}}-{{block}}.parquet")
    return expand(pattern, chunk=CHUNKS, block=BLOCKS)


# Refuses a policy that cannot be measured; an input of its first shard, and cheap, so it runs long before.
rule policy_model:
    input:
        fetched=lambda w: fetched(POLICIES[w.policy].source),
        base=MODEL_FOLDER,
    output:
        folder=directory("results/models/policies/{policy}/{made}"),
    log:
        "results/models/logs/policy_model/{policy}-{made}.log",
    priority: 95
    params:
        p={"trust_remote_code": STUDY.model.trust_remote_code},
        code=code("policy_model.py"),
    script:
        "../scripts/policy_model.py"


use rule sample as policy_sample with:
    input:
        prompts=rules.prompts_chunk.output.prompts,
        model=lambda w: policy_folder(w.policy),
    output:
        samples=results("policies/{policy}/samples/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_sample/{policy}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_sample/{policy}/{chunk}-{block}.tsv")
    params:
        p=lambda w: rules.sample.rule.params.p(w) | {"seed": POLICY_SEED},


use rule score as policy_score with:
    input:
        samples=results("policies/{policy}/samples/{chunk}-{block}.parquet"),
        prompts=rules.prompts_chunk.output.prompts,
        files=reward_files,
    output:
        scores=results("policies/{policy}/scores/{reward}/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_score/{policy}/{reward}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_score/{policy}/{reward}/{chunk}-{block}.tsv")
    wildcard_constraints:
        reward="|".join(map(re.escape, STUDY.rewards)),


rule policy_kl:
    input:
        samples=results("policies/{policy}/samples/{chunk}-{block}.parquet"),
        prompts=rules.prompts_chunk.output.prompts,
        policy=lambda w: policy_folder(w.policy),
        base=MODEL_FOLDER,
    output:
        kl=results("policies/{policy}/kl/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_kl/{policy}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_kl/{policy}/{chunk}-{block}.tsv")
    priority: 20
    threads: workflow.cores or 1
    resources:
        gpu=1,
    params:
        p={
            "template": STUDY.prompts.template,
            "temperature": STUDY.sampling.temperature,
            "top_p": STUDY.sampling.top_p,
            "trust_remote_code": STUDY.model.trust_remote_code,
        },
        code=code("policy_kl.py"),
    script:
        "../scripts/policy_kl.py"


def placed(policy):
    """All that says where a policy stands, by name."""
    kinds = ["samples", "kl", *(f"scores/{reward}" for reward in STUDY.rewards)]
    files = {f"{policy}/{kind}": policy_shards(policy, kind) for kind in kinds}
    return files | {f"{policy}/model": policy_folder(policy)}


rule place_policies:
    input:
        **{name: files for policy in POLICIES for name, files in placed(policy).items()},
        standardised=results("ensembles/standardised.parquet"),
        scales=results("ensembles/scales.parquet"),
    output:
        policies=results("policies/policies.parquet"),
    log:
        results("logs/place_policies/policies.log"),
    params:
        p={
            "gold": STUDY.gold,
            "rewards": list(STUDY.rewards),
            "ensembles": {name: e.model_dump() for name, e in STUDY.ensembles.items()},
            "policies": {name: policy.labels for name, policy in POLICIES.items()},
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("place_policies.py"),
    script:
        "../scripts/place_policies.py"


rule figure_policies:
    input:
        policies=results("policies/policies.parquet"),
        frontier=results("limits/frontier.parquet"),
        best_of_n=results("limits/best_of_n.parquet"),
    output:
        pdf=results("figures/policies.pdf"),
        png=report(
            results("figures/policies.png"),
            caption="../report/figure_policies.rst",
            category="5 Policies",
            labels={"figure": "policies beside the limit"},
        ),
    log:
        results("logs/figure_policies/figure.log"),
    params:
        p=STYLE | {"gold": STUDY.gold},
        code=code("figure_policies.py"),
    script:
        "../scripts/figure_policies.py"


rule policies_page:
    input:
        policies=results("policies/policies.parquet"),
    output:
        html=report(
            results("report/policies.html"),
            caption="../report/policies_page.rst",
            category="5 Policies",
            labels={"page": "where each policy stands"},
        ),
    log:
        results("logs/policies_page/policies_page.log"),
    params:
        p={"gold": STUDY.gold, "top_p": STUDY.sampling.top_p},
        code=code("policies_page.py"),
    script:
        "../scripts/policies_page.py"


def placed_policies():
    """What a study with policies makes more than another."""
    made = rules.place_policies, rules.figure_policies, rules.policies_page
    return [file for rule in made for file in rule.output]

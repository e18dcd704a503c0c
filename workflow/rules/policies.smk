# in: policies (checkpoints, adapters, those trained here), prompts, the base model, standardised rewards of its samples
# out: policies/<policy and its digest>/{samples,scores/<reward and its digest>,kl,on_base}/<chunk>-<block>.parquet
#      (shared), as for the base; on_base: the base's samples under each policy; policies/policies.parquet: gain and KL of
#      each policy, compared with the limit; on/<other policy>: its samples under this policy (shared), and
#      policies/pool.parquet: the samples of the base and of all policies with all log-ratios, if they form one pool
from alignment_limits.report.figures.entries import FIGURES
from alignment_limits.report.figures.table import settings_of, tables_of
from alignment_limits.study.layout import POLICY_FOLDER


wildcard_constraints:
    policy=one_of(LAYOUT.policies),
    other=one_of(LAYOUT.policies),


# Refuses a policy that cannot be measured. It is an input of the policy's first shard and cheap, so it runs long
# before.
rule policy_model:
    input:
        fetched=lambda w: LAYOUT.policy_files(w.policy),
        base=LAYOUT.model,
    output:
        folder=directory(POLICY_FOLDER),
    log:
        "results/models/logs/policy_model/{policy}.log",
    benchmark:
        "results/models/benchmarks/policy_model/{policy}.tsv"
    priority: 95
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    resources:
        mem_mb=MEMORY.of("policy_model"),
    params:
        p=lambda w: {
            "name": LAYOUT.policies[w.policy].name,
            "adapter": bool(getattr(LAYOUT.policies[w.policy], "adapter", None)),
            "scale": LAYOUT.proposal(w.policy).get("scale", 1.0),
            "base_names": LAYOUT.base_names(),
            "trust_remote_code": STUDY.model.trust_remote_code,
        },
        code=code("policy_model.py"),
    script:
        "../scripts/policy_model.py"


if STUDY.prompts:

    # prompts under a proposal's system message
    use rule prompts_chunk as policy_prompts with:
        output:
            prompts=LAYOUT.of_policy("prompts/{chunk}.parquet"),
        log:
            results("logs/policy_prompts/{policy}/{chunk}.log"),
        benchmark:
            results("benchmarks/policy_prompts/{policy}/{chunk}.tsv")
        params:
            p=lambda w: chunk_settings(w)
            | {"system": LAYOUT.proposal(w.policy)["system"]},
            code=code("prompts_chunk.py"),


use rule sample as policy_sample with:
    input:
        prompts=lambda w: LAYOUT.policy_prompts(w.policy, w.chunk),
        model=lambda w: LAYOUT.policy_folder(w.policy),
    output:
        samples=LAYOUT.of_policy("samples/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_sample/{policy}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_sample/{policy}/{chunk}-{block}.tsv")
    params:
        p=lambda w: LAYOUT.sampling_settings(
            int(w.block[1:]), LAYOUT.policy_seed, w.policy
        ),


use rule score as policy_score with:
    input:
        samples=LAYOUT.of_policy("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        documents=lambda w: LAYOUT.documents_for(LAYOUT.scorers[w.scorer]),
        files=lambda w: LAYOUT.scoring_files(LAYOUT.scorers[w.scorer]),
    output:
        scores=LAYOUT.of_policy("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_score/{policy}/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_score/{policy}/{scorer}/{chunk}-{block}.tsv")


use rule policy_score as policy_score_light with:
    wildcard_constraints:
        scorer=one_of(LAYOUT.light),


ruleorder: policy_score_light > policy_score


use rule score_sum as policy_score_sum with:
    input:
        unpack(terms_in(LAYOUT.of_policy("scores/{scorer}/{chunk}-{block}.parquet"))),
    output:
        scores=LAYOUT.of_policy("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_score_sum/{policy}/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_score_sum/{policy}/{scorer}/{chunk}-{block}.tsv")


if LAYOUT.of_kind("trained"):

    use rule features as policy_features with:
        input:
            samples=LAYOUT.of_policy("samples/{chunk}-{block}.parquet"),
            prompts=shared("prompts/{chunk}.parquet"),
            files=lambda w: LAYOUT.fetched(LAYOUT.encoders[w.encoder].features),
        output:
            features=LAYOUT.of_policy("features/{encoder}/{chunk}-{block}.parquet"),
        log:
            results("logs/policy_features/{policy}/{encoder}/{chunk}-{block}.log"),
        benchmark:
            results("benchmarks/policy_features/{policy}/{encoder}/{chunk}-{block}.tsv")

    use rule score_trained as policy_score_trained with:
        input:
            features=lambda w: LAYOUT.of_policy(
                "features/{encoder}/{chunk}-{block}.parquet"
            ).format(
                encoder=LAYOUT.encoder_id(LAYOUT.of_kind("trained")[w.scorer]), **w
            ),
            head=shared("heads/{scorer}.safetensors"),
        output:
            scores=LAYOUT.of_policy("scores/{scorer}/{chunk}-{block}.parquet"),
        log:
            results("logs/policy_score_trained/{policy}/{scorer}/{chunk}-{block}.log"),
        benchmark:
            results(
                "benchmarks/policy_score_trained/{policy}/{scorer}/{chunk}-{block}.tsv"
            )


localrules:
    policy_score_light,


def kl_settings(law, base_law, exchanged=False):
    return {
        "template": STUDY.asked.template,
        "law": law,
        "base_law": base_law,
        "dtype": STUDY.model.dtype,
        "trust_remote_code": STUDY.model.trust_remote_code,
        "exchanged": exchanged,
    } | LAYOUT.reading


rule policy_kl:
    input:
        samples=LAYOUT.of_policy("samples/{chunk}-{block}.parquet"),
        prompts=lambda w: LAYOUT.policy_prompts(w.policy, w.chunk),
        base_prompts=shared("prompts/{chunk}.parquet"),
        policy=lambda w: LAYOUT.policy_folder(w.policy),
        base=LAYOUT.model,
    output:
        kl=LAYOUT.of_policy("kl/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_kl/{policy}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_kl/{policy}/{chunk}-{block}.tsv")
    priority: 20
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    threads: CORES
    resources:
        gpu=GPU,
        mem_mb=MEMORY.of("policy_kl"),
    params:
        p=lambda w: kl_settings(LAYOUT.law(w.policy), LAYOUT.law()),
        code=code("policy_kl.py"),
    script:
        "../scripts/policy_kl.py"


# KL(π₀‖π) and both log-probabilities of the base's samples: the same as of a policy's, each model in the other's place.
use rule policy_kl as policy_on_base with:
    input:
        samples=shared("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        base_prompts=lambda w: LAYOUT.policy_prompts(w.policy, w.chunk),
        policy=LAYOUT.model,
        base=lambda w: LAYOUT.policy_folder(w.policy),
    output:
        kl=LAYOUT.of_policy("on_base/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_on_base/{policy}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_on_base/{policy}/{chunk}-{block}.tsv")
    params:
        p=lambda w: kl_settings(LAYOUT.law(), LAYOUT.law(w.policy), exchanged=True),
        code=code("policy_kl.py"),


rule policy_on_policy:
    input:
        samples=LAYOUT.of_policy("samples/{chunk}-{block}.parquet").replace(
            "{policy}", "{other}"
        ),
        prompts=lambda w: LAYOUT.policy_prompts(w.policy, w.chunk),
        policy=lambda w: LAYOUT.policy_folder(w.policy),
    output:
        logprob=LAYOUT.of_policy("on/{other}/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_on_policy/{policy}/{other}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_on_policy/{policy}/{other}/{chunk}-{block}.tsv")
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    threads: CORES
    resources:
        gpu=GPU,
        mem_mb=MEMORY.of("policy_kl"),
    params:
        p=lambda w: {
            "template": STUDY.asked.template,
            "law": LAYOUT.law(w.policy),
            "trust_remote_code": STUDY.model.trust_remote_code,
        }
        | LAYOUT.reading,
        code=code("policy_on_policy.py"),
    script:
        "../scripts/policy_on_policy.py"


def placed():
    """All files about a policy: shards of each kind, and the model's folder."""
    files = {}
    for policy_id, policy in LAYOUT.policies.items():
        files[f"{policy.name}/model"] = LAYOUT.policy_folder(policy_id)
        for kind, folder in LAYOUT.kinds(policy_id).items():
            files[f"{policy.name}/{kind}"] = LAYOUT.policy_shards(folder)
        files[f"{policy.name}/on_base"] = LAYOUT.on_base(policy_id)
        for other_id, other in LAYOUT.policies.items():
            if STUDY.pools == "all" and other_id != policy_id:
                shards = LAYOUT.on_policy(policy_id, other_id)
                files[f"{policy.name}/on/{other.name}"] = shards
    return files


rule place_policies:
    input:
        **placed(),
        **{
            f"{run.name}/curves": shared(f"training/{run_id}/curves.parquet")
            for run_id, run in LAYOUT.runs.items()
        },
        standardised=results("ensembles/standardised.parquet"),
        scales=results("ensembles/scales.parquet"),
    output:
        **(
            {"split": results("policies/split.parquet")}
            if any(run.recipe.train_on < 1 for run in STUDY.runs)
            else {}
        ),
        pool=results("policies/pool.parquet"),
        policies=results("policies/policies.parquet"),
        by_prompt=results("policies/by_prompt.parquet"),
    log:
        results("logs/place_policies/policies.log"),
    benchmark:
        results("benchmarks/place_policies/policies.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "rewards": list(STUDY.rewards),
            "bounds": STUDY.bounds,
            "ensembles": {name: e.model_dump() for name, e in STUDY.ensembles.items()},
            "policies": {policy.name: policy.labels for policy in STUDY.all_policies},
            "train_on": {run.name: run.recipe.train_on for run in STUDY.runs},
            "pools": STUDY.pools,
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("place_policies.py"),
    script:
        "../scripts/place_policies.py"


use rule link_shards as link_policies with:
    input:
        results("policies/policies.parquet"),
    output:
        [
            directory(results(f"policies/{file_name(p.name)}"))
            for p in STUDY.all_policies
        ],
    log:
        results("logs/link_policies/link_policies.log"),
    benchmark:
        results("benchmarks/link_policies/link_policies.tsv")
    params:
        p=LAYOUT.links(
            {
                results(f"policies/{file_name(policy.name)}/{shown}"): folder
                for policy_id, policy in LAYOUT.policies.items()
                for kind, folder in LAYOUT.kinds(policy_id).items()
                for shown in ["/".join(map(file_name, kind.split("/", 1)))]
            },
            of_policies=True,
        ),


rule figure_policies:
    input:
        **{k: results(p) for k, p in tables_of(FIGURES["policies"], STUDY).items()},
    output:
        pdf=results("figures/policies-{evaluated}.pdf"),
        png=report(
            results("figures/policies-{evaluated}.png"),
            caption="../report/caption.rst",
            category=FIGURES["policies"].category,
            labels=lambda w: {
                "figure": FIGURES["policies"].label.format(
                    evaluated=LAYOUT.shown[w.evaluated]
                )
            },
        ),
    log:
        results("logs/figure_policies/{evaluated}.log"),
    benchmark:
        results("benchmarks/figure_policies/{evaluated}.tsv")
    wildcard_constraints:
        evaluated=one_of(sorted(LAYOUT.shown)),
    conda:
        ENVIRONMENT
    params:
        figure="policies",
        p=lambda w: settings_of(FIGURES["policies"], STUDY)
        | {
            "evaluated": LAYOUT.shown[w.evaluated],
            "caption": caption(FIGURES["policies"], STUDY),
        },
        code=code("figure.py", FIGURES["policies"].module),
    script:
        "../scripts/figure.py"


# shards and models are listed so that deleted ones are created again
MADE += [
    *rules.place_policies.input,
    *rules.place_policies.output,
    *(rules.link_policies.output if LINKED else []),
    *expand(
        results("figures/policies-{evaluated}.{kind}"),
        evaluated=sorted(LAYOUT.shown),
        kind=["pdf", "png"],
    ),
]

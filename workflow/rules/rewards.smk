# in: sample shards, prompts and a reward's fetched files
# out: scores/<reward and its digest>/<chunk>-<block>.parquet (shared); preflight/rewards/<reward>.json says the
#      reward can be trusted
from alignment_limits.study.rewards import Labelled, Sum
from alignment_limits.rewards.load import module_of

SUMMARY = results("samples/summary.parquet")


# kinds that take the study's own base model where no source is given
READ_THE_BASE_MODEL = {"information-gain", "fine-tuned"}
SCORERS = {STUDY.scorer_id(reward): reward for reward in STUDY.rewards}
# rewards that exist before a study does; others are made in proxies.smk, which scores heads, in fine_tuning.smk, or
# of these in sums.smk
GIVEN = [
    name
    for name, reward in STUDY.rewards.items()
    if not isinstance(reward, (Labelled, Sum))
]
BY_FILE = by_file_name(GIVEN)
# rewards that policies are trained on here
OPTIMIZED = {
    term
    for run in STUDY.runs
    for member in STUDY.members(run.optimized)
    for term in STUDY.terms(member)
}
TUNED = [id for id, n in SCORERS.items() if STUDY.rewards[n].kind == "fine-tuned"]


def score_files(reward):
    """All score shards of a reward."""
    return shards(f"scores/{STUDY.scorer_id(reward)}/{{chunk}}-{{block}}.parquet")


# prompts.parquet may have a column `cluster`: prompts with the same one are not independent
CLUSTERED = results("prompts.parquet")


def scoring(reward):
    """Settings by which a reward scores."""
    spec = STUDY.rewards[reward]
    return spec.classifier if spec.kind == "fine-tuned" else spec


def named(wildcards):
    """The reward a job is about."""
    return (
        SCORERS[wildcards.scorer]
        if "scorer" in wildcards.keys()
        else BY_FILE[wildcards.reward]
    )


def reward_spec(wildcards):
    """Settings of the reward a job is about."""
    return scoring(named(wildcards))


def source_files(spec):
    """Where a reward's source lies."""
    source = getattr(spec, "source", None)
    if source is None and spec.kind in READ_THE_BASE_MODEL:
        return MODEL_FOLDER
    return fetched(source) if source else []


def scoring_files(reward):
    """The files a reward scores with: a folder; the encoder's and the head, for a trained head."""
    spec, scorer = STUDY.rewards[reward], STUDY.scorer_id(reward)
    if spec.kind == "fine-tuned":
        return shared(f"fine_tuned/{scorer}")
    if spec.kind == "trained":
        return [fetched(spec.features), shared(f"heads/{scorer}.safetensors")]
    return source_files(spec)


def reward_files(wildcards):
    """The files that the reward a job is about scores with."""
    return scoring_files(named(wildcards))


def beside(wildcards):
    """The documents, for rewards that read them or their references."""
    read = getattr(reward_spec(wildcards), "beside", "prompt") != "prompt"
    return shared("documents") if read else []


def reward_code(script):
    """The script's closure, the module its reward's kind is loaded from, and a user's own module."""

    def fingerprint(wildcards):
        spec = reward_spec(wildcards)
        own = [module_of(spec.kind, spec.function)] if spec.kind == "python" else []
        return code(script, module_of(spec.kind), *own)

    return fingerprint


def scoring_settings(reward):
    """What a reward is loaded with: its settings, and the date of its chat template."""
    return scoring(reward).model_dump(exclude={"note"}) | STUDY.dated(reward)


def reward_settings(wildcards):
    return {"spec": scoring_settings(named(wildcards))}


rule preflight_reward:
    input:
        files=reward_files,
        prompts=expand(shared("prompts/{chunk}.parquet"), chunk=CHUNKS),
        training=expand(shared("prompts/{chunk}.parquet"), chunk=TRAINING_CHUNKS),
        documents=beside,
    output:
        passed=results("preflight/rewards/{reward}.json"),
    log:
        results("logs/preflight_reward/{reward}.log"),
    benchmark:
        results("benchmarks/preflight_reward/{reward}.tsv")
    wildcard_constraints:
        reward=one_of(BY_FILE),
    priority: 100
    envmodules:
        *MODULES,
    params:
        p=lambda w: reward_settings(w)
        | {
            "name": named(w),
            "optimized": named(w) in OPTIMIZED,
            "max_new_tokens": STUDY.sampling.max_new_tokens,
        },
        code=reward_code("preflight_reward.py"),
    script:
        "../scripts/preflight_reward.py"


rule preflight_rewards:
    input:
        passed=expand(results("preflight/rewards/{reward}.json"), reward=BY_FILE),
    output:
        passed=results("preflight/rewards.json"),
    log:
        results("logs/preflight_rewards/rewards.log"),
    benchmark:
        results("benchmarks/preflight_rewards/rewards.tsv")
    priority: 100
    localrule: True
    params:
        p={"rewards": GIVEN},
        code=code("preflight_rewards.py"),
    script:
        "../scripts/preflight_rewards.py"


rule score:
    input:
        samples=shared("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        documents=beside,
        files=reward_files,
    output:
        scores=shared("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/score/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/score/{scorer}/{chunk}-{block}.tsv")
    wildcard_constraints:
        scorer=one_of([*(STUDY.scorer_id(reward) for reward in GIVEN), *TUNED]),
    priority: 20
    envmodules:
        *MODULES,
    params:
        p=reward_settings,
        code=reward_code("score.py"),
    script:
        "../scripts/score.py"


# Word lists and linear models need a second for what takes a GPU minutes: no job for a cluster.
LIGHT = [id for id, reward in SCORERS.items() if STUDY.rewards[reward].light]


use rule score as score_light with:
    wildcard_constraints:
        scorer=one_of(LIGHT),


ruleorder: score_light > score


localrules:
    score_light,


# A study's own view of its shared shards, made when all are there: samples/<model>/<chunk>-<block>.parquet
# and scores/<reward>/<chunk>-<block>.parquet are links.
rule link_shards:
    input:
        results("samples/summary.parquet"),
        results("ensembles/rewards.parquet"),
    output:
        samples=directory(results(f"samples/{BASE}")),
        scores=directory(results("scores")),
    log:
        results("logs/link_shards/link_shards.log"),
    benchmark:
        results("benchmarks/link_shards/link_shards.tsv")
    localrule: True
    params:
        p={
            "links": {
                results(f"samples/{BASE}"): shared("samples"),
                **{
                    results(f"scores/{file_name(name)}"): shared(f"scores/{scorer}")
                    for scorer, name in SCORERS.items()
                },
            },
            "prompts": STUDY.prompts.count,
            "chunk": CHUNK,
            "samples_per_prompt": STUDY.sampling.samples_per_prompt,
            "block": STUDY.sampling.block,
        },
        code=code("link_shards.py"),
    script:
        "../scripts/link_shards.py"


# one shard of each kind, for the versions that made it
TABLES += [
    results("prompts.parquet"),
    SUMMARY,
    READ_AGAIN,
    *shards("samples/{chunk}-{block}.parquet")[:1],
    *(score_files(reward)[0] for reward in STUDY.rewards),
]
# shards are here for themselves, so that deleted ones are made again
MADE += [
    results("prompts.parquet"),
    SUMMARY,
    results("preflight/sampling.json"),
    results("preflight/rewards.json"),
    *rules.link_shards.output,
    *shards("samples/{chunk}-{block}.parquet"),
    *(file for reward in STUDY.rewards for file in score_files(reward)),
]

# in: sample shards, prompts and a reward's fetched files
# out: scores/<reward and its digest>/<chunk>-<block>.parquet (shared); preflight/rewards/<reward>.json: the reward
#      passed its checks
BY_FILE = by_file_name(LAYOUT.given)


rule preflight_reward:
    input:
        files=lambda w: LAYOUT.scoring_files(BY_FILE[w.reward]),
        prompts=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
        training=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks),
        documents=lambda w: LAYOUT.documents_for(BY_FILE[w.reward]),
    output:
        passed=results("preflight/rewards/{reward}.json"),
    log:
        results("logs/preflight_reward/{reward}.log"),
    benchmark:
        results("benchmarks/preflight_reward/{reward}.tsv")
    wildcard_constraints:
        reward=one_of(BY_FILE),
    priority: 100
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    resources:
        gpu=lambda w: GPU if LAYOUT.is_neural(BY_FILE[w.reward]) else 0,
        mem_mb=MEMORY.of("score"),
    params:
        p=lambda w: {
            "spec": LAYOUT.scoring_settings(BY_FILE[w.reward]),
            "name": BY_FILE[w.reward],
            "optimized": BY_FILE[w.reward] in LAYOUT.optimized,
            "max_new_tokens": STUDY.sampling.max_new_tokens if STUDY.sampling else 0,
        },
        code=lambda w: code("preflight_reward.py", *LAYOUT.modules(BY_FILE[w.reward])),
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
    conda:
        ENVIRONMENT
    params:
        p={"rewards": LAYOUT.given},
        code=code("preflight_rewards.py"),
    script:
        "../scripts/preflight_rewards.py"


rule score:
    input:
        samples=shared("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        documents=lambda w: LAYOUT.documents_for(LAYOUT.scorers[w.scorer]),
        files=lambda w: LAYOUT.scoring_files(LAYOUT.scorers[w.scorer]),
    output:
        scores=shared("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/score/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/score/{scorer}/{chunk}-{block}.tsv")
    wildcard_constraints:
        scorer=one_of(
            [*map(STUDY.scorer_id, LAYOUT.given), *LAYOUT.of_kind("fine-tuned")]
        ),
    priority: 20
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    resources:
        gpu=lambda w: GPU if LAYOUT.is_neural(LAYOUT.scorers[w.scorer]) else 0,
        mem_mb=MEMORY.of("score"),
    params:
        p=lambda w: {"spec": LAYOUT.scoring_settings(LAYOUT.scorers[w.scorer])},
        code=lambda w: code("score.py", *LAYOUT.modules(LAYOUT.scorers[w.scorer])),
    script:
        "../scripts/score.py"


# Word lists and linear models score in a second what takes a GPU minutes, so they get no job on a cluster.
use rule score as score_light with:
    wildcard_constraints:
        scorer=one_of(LAYOUT.light),


ruleorder: score_light > score


localrules:
    score_light,


# A sum adds up existing scores, so a changed weight scores no reply again.
def terms_in(pattern):
    """Shards of the terms of a sum, by reward; `pattern` is the path of one reward's scores."""

    def shards_of(wildcards):
        terms = STUDY.terms(LAYOUT.scorers[wildcards.scorer])
        return {
            f"terms/{term}": pattern.replace("{scorer}", STUDY.scorer_id(term)).format(
                **wildcards
            )
            for term in terms
        }

    return shards_of


rule score_sum:
    input:
        unpack(terms_in(shared("scores/{scorer}/{chunk}-{block}.parquet"))),
    output:
        scores=shared("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/score_sum/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/score_sum/{scorer}/{chunk}-{block}.tsv")
    wildcard_constraints:
        scorer=one_of(LAYOUT.of_kind("sum")),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=lambda w: {"terms": STUDY.terms(LAYOUT.scorers[w.scorer])},
        code=code("score_sum.py"),
    script:
        "../scripts/score_sum.py"


# The study's own links to its shared shards, created when all exist: samples/<model>/<chunk>-<block>.parquet and
# scores/<reward>/<chunk>-<block>.parquet.
rule link_shards:
    input:
        results("samples/summary.parquet"),
        results("ensembles/rewards.parquet"),
    output:
        samples=directory(results(f"samples/{LAYOUT.base}")),
        scores=directory(results("scores")),
    log:
        results("logs/link_shards/link_shards.log"),
    benchmark:
        results("benchmarks/link_shards/link_shards.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=LAYOUT.links(
            {results(f"samples/{LAYOUT.base}"): shared("samples")}
            | {
                results(f"scores/{file_name(name)}"): shared(f"scores/{scorer}")
                for scorer, name in LAYOUT.scorers.items()
            },
        ),
        code=code("link_shards.py"),
    script:
        "../scripts/link_shards.py"


# one shard of each kind, for the package versions in its metadata
TABLES += [
    results("prompts.parquet"),
    results("samples/summary.parquet"),
    *([LAYOUT.read_again] if STUDY.sampling else []),
    *LAYOUT.shards("samples/{chunk}-{block}.parquet")[:1],
    *(LAYOUT.score_files(reward)[0] for reward in STUDY.rewards),
]
# shards are listed so that deleted ones are created again
MADE += [
    results("prompts.parquet"),
    results("samples/summary.parquet"),
    *([results("preflight/sampling.json")] if STUDY.sampling else []),
    results("preflight/rewards.json"),
    *(rules.link_shards.output if LINKED else []),
    *LAYOUT.shards("samples/{chunk}-{block}.parquet"),
    *(file for reward in STUDY.rewards for file in LAYOUT.score_files(reward)),
]

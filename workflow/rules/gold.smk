# in: documents with experts' replies, sample shards, all rewards
# out: gold/<reward>.parquet (scores of experts' replies), report/gold.parquet and .html (is gold fit to be gold?)
JUDGED = [*GIVEN, *SUMS.values()]


def read_beside(reward):
    """What a reward reads beside the reply; a sum, what its terms do: the prompt where none reads more."""
    read = {getattr(STUDY.rewards[t], "beside", "prompt") for t in STUDY.terms(reward)}
    return ", ".join(sorted(read - {"prompt"})) or "prompt"


rule judge_reward:
    input:
        documents=shared("documents"),
        samples=shards("samples/{chunk}-{block}.parquet"),
        files=reward_files,
    output:
        scores=results("gold/{reward}.parquet"),
    log:
        results("logs/judge_reward/{reward}.log"),
    benchmark:
        results("benchmarks/judge_reward/{reward}.tsv")
    wildcard_constraints:
        reward=one_of(GIVEN),
    envmodules:
        *MODULES,
    params:
        p=lambda w: reward_settings(w) | {"per_document": 4},
        code=reward_code("judge_reward.py"),
    script:
        "../scripts/judge_reward.py"


rule gold:
    input:
        **{name: results(f"gold/{name}.parquet") for name in JUDGED},
        standardised=results("ensembles/rewards.parquet"),
    output:
        table=results("report/gold.parquet"),
        html=report(
            results("report/gold.html"),
            caption="../report/gold.rst",
            category="0 Summary",
            labels={"page": "is gold fit to be gold?"},
        ),
    log:
        results("logs/gold/gold.log"),
    benchmark:
        results("benchmarks/gold/gold.tsv")
    localrule: True
    params:
        p={
            "gold": STUDY.gold,
            "beside": {name: read_beside(name) for name in JUDGED},
            "above_samples": 0.85,
            "above_other": 0.95,
            "seed": STUDY.seed,
        },
        code=code("gold.py"),
    script:
        "../scripts/gold.py"


MADE += rules.gold.output

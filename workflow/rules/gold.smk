# in: documents with experts' replies, sample shards, all rewards
# out: gold/<reward and its digest>-<documents>.parquet (scores of experts' replies, shared), report/gold.parquet and
#      .html (is gold fit to be gold?)
JUDGED = [*GIVEN, *SUMS.values()]


def trials(scorer):
    """A reward's scores of experts' replies; all studies of so many documents share them."""
    return shared(f"gold/{scorer}-p{STUDY.prompts.count:05d}.parquet")


def read_beside(reward):
    """What a reward reads beside the reply; a sum, what its terms do: the prompt where none reads more."""
    read = {getattr(STUDY.rewards[t], "beside", "prompt") for t in STUDY.terms(reward)}
    return ", ".join(sorted(read - {"prompt"})) or "prompt"


rule judge_reward:
    input:
        documents=shared("documents"),
        samples=expand(
            shared("samples/{chunk}-{block}.parquet"), chunk=CHUNKS, block=BLOCKS[0]
        ),
        files=reward_files,
    output:
        scores=trials("{scorer}"),
    log:
        results("logs/judge_reward/{scorer}.log"),
    benchmark:
        results("benchmarks/judge_reward/{scorer}.tsv")
    wildcard_constraints:
        scorer=one_of(STUDY.scorer_id(reward) for reward in GIVEN),
    envmodules:
        *MODULES,
    params:
        p=lambda w: reward_settings(w) | {"per_document": 4},
        code=reward_code("judge_reward.py"),
    script:
        "../scripts/judge_reward.py"


rule gold:
    input:
        **{f"trials/{name}": trials(STUDY.scorer_id(name)) for name in JUDGED},
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

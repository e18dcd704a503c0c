# in: documents with experts' replies, sample shards, all rewards
# out: gold/<reward and its digest>-<documents>.parquet (scores of experts' replies, shared), report/gold.parquet and
#      .html (is the gold reward good enough?)
JUDGED = [*LAYOUT.given, *map(LAYOUT.scorers.get, LAYOUT.of_kind("sum"))]


rule judge_reward:
    input:
        documents=shared("documents"),
        samples=expand(
            shared("samples/{chunk}-{block}.parquet"),
            chunk=LAYOUT.chunks,
            block=LAYOUT.blocks[0],
        ),
        files=lambda w: LAYOUT.scoring_files(LAYOUT.scorers[w.scorer]),
    output:
        scores=LAYOUT.experts_scores("{scorer}"),
    log:
        results("logs/judge_reward/{scorer}.log"),
    benchmark:
        results("benchmarks/judge_reward/{scorer}.tsv")
    wildcard_constraints:
        scorer=one_of(map(STUDY.scorer_id, LAYOUT.given)),
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    resources:
        gpu=lambda w: GPU if LAYOUT.is_neural(LAYOUT.scorers[w.scorer]) else 0,
        mem_mb=MEMORY.of("score"),
    params:
        p=lambda w: {
            "spec": LAYOUT.scoring_settings(LAYOUT.scorers[w.scorer]),
            "per_document": 4,
        },
        code=lambda w: code(
            "judge_reward.py", *LAYOUT.modules(LAYOUT.scorers[w.scorer])
        ),
    script:
        "../scripts/judge_reward.py"


rule judge_sum:
    input:
        unpack(terms_in(shared("gold/{scorer}-{documents}.parquet"))),
    output:
        scores=shared("gold/{scorer}-{documents}.parquet"),
    log:
        results("logs/judge_sum/{scorer}-{documents}.log"),
    benchmark:
        results("benchmarks/judge_sum/{scorer}-{documents}.tsv")
    wildcard_constraints:
        scorer=one_of(LAYOUT.of_kind("sum")),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=lambda w: {"terms": STUDY.terms(LAYOUT.scorers[w.scorer])},
        code=code("judge_sum.py"),
    script:
        "../scripts/judge_sum.py"


rule gold:
    input:
        **{
            f"trials/{name}": LAYOUT.experts_scores(STUDY.scorer_id(name))
            for name in JUDGED
        },
        standardised=results("ensembles/rewards.parquet"),
    output:
        table=results("report/gold.parquet"),
        html=report(
            results("report/gold.html"),
            caption="../report/gold.rst",
            category="0 Summary",
            labels={"page": "is the gold reward good enough?"},
        ),
    log:
        results("logs/gold/gold.log"),
    benchmark:
        results("benchmarks/gold/gold.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={
            "gold": STUDY.gold,
            "beside": {name: LAYOUT.reads_with(name) for name in JUDGED},
            "above_samples": 0.85,
            "above_other": 0.95,
            "seed": STUDY.seed,
        },
        code=code("gold.py"),
    script:
        "../scripts/gold.py"


MADE += rules.gold.output

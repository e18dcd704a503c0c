# in: score shards of the rewards that a sum adds up (of base samples, policies' samples or experts' replies)
# out: the sum's own, in the same places: an edited weight scores nothing anew
def terms_in(pattern):
    """Shards of what a sum adds up, by reward; `pattern` is of the scores of one."""

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

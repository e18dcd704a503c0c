# in: a table of scores from another source (Parquet, CSV, JSONL, JSON), or files of another project's samples
# out: scores/<reward>/table.parquet, checked, with the same columns as scores of this workflow;
#      ensembles/clusters.parquet: the clusters of prompts that are not independent; if the table has samples of policies:
#      scores/pool.parquet, and ensembles/pool.parquet on the scale of the base (tradeoffs/closed_scores.parquet: of
#      policies without log-ratios); of other projects' samples:
#      scores/imported.parquet, scores/provenance.parquet (the verdict) and scores/sources.parquet (the files)
if STUDY.scores.imported:

    include: "imports.smk"


rule import_scores:
    input:
        table=(
            results("scores/imported.parquet")
            if STUDY.scores.imported
            else users(STUDY.scores.table)
        ),
    output:
        LAYOUT.clusters,
        **{f"scores/{name}": LAYOUT.score_files(name)[0] for name in STUDY.reward_names},
        **(
            {"pool": results("scores/pool.parquet")}
            if STUDY.scores.has_log_ratios
            else {}
        ),
        **(
            {"closed": results("tradeoffs/closed_scores.parquet")}
            if STUDY.scores.closed
            else {}
        ),
    log:
        results("logs/import_scores/scores.log"),
    benchmark:
        results("benchmarks/import_scores/scores.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "rewards": STUDY.reward_names,
            "bounds": STUDY.bounds,
            "cluster": STUDY.scores.cluster,
            "partial": STUDY.scores.partial,
            "pool": STUDY.scores.pool and STUDY.scores.pool.model_dump(),
        },
        code=code("import_scores.py"),
    script:
        "../scripts/import_scores.py"


if STUDY.scores.has_log_ratios:

    rule standardise_pool:
        input:
            pool=results("scores/pool.parquet"),
            standardised=results("ensembles/rewards.parquet"),
            scales=results("ensembles/scales.parquet"),
        output:
            pool=results("ensembles/pool.parquet"),
        log:
            results("logs/standardise_pool/standardise_pool.log"),
        benchmark:
            results("benchmarks/standardise_pool/standardise_pool.tsv")
        conda:
            ENVIRONMENT
        params:
            p={
                "rewards": STUDY.reward_names,
                "ensembles": {n: e.model_dump() for n, e in STUDY.ensembles.items()},
            },
            code=code("standardise_pool.py"),
        script:
            "../scripts/standardise_pool.py"

    MADE += rules.standardise_pool.output


TABLES += rules.import_scores.output
MADE += rules.import_scores.output

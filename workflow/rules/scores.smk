# in: a table of scores from another source (Parquet, CSV, JSONL, JSON)
# out: scores/<reward>/table.parquet, checked, with the same columns as scores of this workflow;
#      ensembles/clusters.parquet: the clusters of prompts that are not independent
rule import_scores:
    input:
        table=users(STUDY.scores.table),
    output:
        LAYOUT.clusters,
        **{f"scores/{name}": LAYOUT.score_files(name)[0] for name in STUDY.reward_names},
    log:
        results("logs/import_scores/scores.log"),
    benchmark:
        results("benchmarks/import_scores/scores.tsv")
    conda:
        ENVIRONMENT
    params:
        p={"rewards": STUDY.reward_names, "cluster": STUDY.scores.cluster},
        code=code("import_scores.py"),
    script:
        "../scripts/import_scores.py"


TABLES += rules.import_scores.output
MADE += rules.import_scores.output

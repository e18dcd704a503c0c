# in: files of another project's samples
# out: imported.parquet, provenance.parquet (the verdict) and sources.parquet (the files), in scores/ or samples/
IMPORT = (STUDY.scores or STUDY.samples).imported
INTO = results("scores" if STUDY.scores else "samples")
SAMPLE_FILES = [users(file) for file in IMPORT.files]


rule import_samples:
    input:
        files=[file for path in SAMPLE_FILES for file in all_files(path)],
    output:
        table=f"{INTO}/imported.parquet",
        findings=f"{INTO}/provenance.parquet",
        sources=f"{INTO}/sources.parquet",
    log:
        results("logs/import_samples/samples.log"),
    benchmark:
        results("benchmarks/import_samples/samples.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            **IMPORT.model_dump(exclude={"files"}),
            "files": SAMPLE_FILES,
            "rewards": (
                STUDY.reward_names
                if STUDY.scores
                else [reward.column for reward in LAYOUT.of_kind("column").values()]
            ),
        },
        code=code("import_samples.py"),
    script:
        "../scripts/import_samples.py"


TABLES += rules.import_samples.output[1:]
MADE += rules.import_samples.output

# in: the sources named in the study file
# out: results/models/fetched/<source>/ (as it came, checked), results/models/<model>/ (loads as is)
def local_files(wildcards):
    """Files of a local source are inputs, so that a change of their content is seen."""
    path = LAYOUT.sources[wildcards.source].path
    path = path and Path(path).expanduser()
    if path and path.is_dir():
        return sorted(users(file) for file in path.rglob("*") if file.is_file())
    return users(path) if path else []


# `--cache` keeps fetched and converted models for all workflows in $SNAKEMAKE_OUTPUT_CACHE. Snakemake then
# tells jobs of a rule apart by their params alone: those must name all that the wildcards choose.
CACHED = workflow.workflow_settings.cache is not None


rule fetch:
    input:
        local=local_files,
    output:
        folder=directory("results/models/fetched/{source}"),
    log:
        "results/models/logs/fetch/{source}.log",
    wildcard_constraints:
        source=one_of(LAYOUT.sources),
    cache: CACHED
    priority: 100
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=lambda w: LAYOUT.sources[w.source].model_dump(),
        code=code("fetch.py"),
    script:
        "../scripts/fetch.py"


rule convert:
    input:
        fetched=LAYOUT.fetched(STUDY.model.source),
    output:
        folder=directory(LAYOUT.model),
    log:
        f"results/models/logs/convert/{LAYOUT.base}.log",
    cache: CACHED
    priority: 100
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    params:
        p={"trust_remote_code": STUDY.model.trust_remote_code},
        code=code("convert.py"),
    script:
        "../scripts/convert.py"

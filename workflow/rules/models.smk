# in: the sources named in the study file
# out: results/models/fetched/<source>/ (unchanged and checked), results/models/<model>/ (can be loaded directly)
def local_files(wildcards):
    """The files of a local source; they are inputs, so that a change of their content is detected."""
    path = LAYOUT.sources[wildcards.source].path
    path = path and Path(path).expanduser()
    if path and path.is_dir():
        return sorted(users(file) for file in path.rglob("*") if file.is_file())
    return users(path) if path else []


# `--cache` keeps fetched and converted models for all workflows in $SNAKEMAKE_OUTPUT_CACHE. Snakemake then
# distinguishes jobs of a rule only by their params, so the params must contain everything that depends on the
# wildcards.
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
        p=lambda w: LAYOUT.fetching(w.source),
        code=code("fetch.py"),
    script:
        "../scripts/fetch.py"


if STUDY.model:

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
        resources:
            mem_mb=MEMORY.of("convert"),
        params:
            p={"trust_remote_code": STUDY.model.trust_remote_code},
            code=code("convert.py"),
        script:
            "../scripts/convert.py"

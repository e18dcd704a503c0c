# in: the sources named in the study file
# out: results/models/fetched/<source>/ (as it came, checked), results/models/<model>/ (loads as is)
from alignment_limits.models.fetch import source_id

BASE = file_name(STUDY.model.name)
USERS = [
    STUDY.model,
    STUDY.prompts,
    *STUDY.rewards.values(),
    *(STUDY.policies or []),
]
if STUDY.gold_labels is not None and STUDY.gold_labels.sweep is not None:
    USERS.append(STUDY.gold_labels.sweep)
if STUDY.preferences is not None:
    USERS.append(STUDY.preferences)
SOURCES = {
    source_id(source): source
    for user in USERS
    for source in (getattr(user, "source", None), getattr(user, "features", None))
    if source
}
MODEL_FOLDER = f"results/models/{BASE}-{source_id(STUDY.model.source)[-8:]}"


def fetched(source):
    """Folder of a fetched source, shared by all studies."""
    return f"results/models/fetched/{source_id(source)}"


def local_files(wildcards):
    """Files of a local source are inputs, so that a change of their content is seen."""
    path = SOURCES[wildcards.source].path
    path = path and Path(path).expanduser()
    if path and path.is_dir():
        return sorted(str(file) for file in path.rglob("*") if file.is_file())
    return str(path) if path else []


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
        source=one_of(SOURCES),
    cache: CACHED
    priority: 100
    localrule: True
    params:
        p=lambda w: SOURCES[w.source].model_dump(),
        code=code("fetch.py"),
    script:
        "../scripts/fetch.py"


rule convert:
    input:
        fetched=fetched(STUDY.model.source),
    output:
        folder=directory(MODEL_FOLDER),
    log:
        f"results/models/logs/convert/{BASE}.log",
    cache: CACHED
    priority: 100
    envmodules:
        *MODULES,
    params:
        p={"trust_remote_code": STUDY.model.trust_remote_code},
        code=code("convert.py"),
    script:
        "../scripts/convert.py"

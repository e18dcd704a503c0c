# in: the sources named in the study file
# out: results/models/fetched/<source>/ (as it came, checked), results/models/<model>/ (loads as is)
from alignment_limits.models.fetch import source_id

BASE = STUDY.model.name
USERS = [STUDY.model, STUDY.prompts, *STUDY.rewards.values()]
SOURCES = {
    source_id(user.source): user.source
    for user in USERS
    if getattr(user, "source", None)
}
MODEL_FOLDER = f"results/models/{BASE}-{source_id(STUDY.model.source)[-8:]}"


def fetched(source):
    """Folder of a fetched source, shared by all studies."""
    return f"results/models/fetched/{source_id(source)}"


def local_path(wildcards):
    """A local source is an input, so that a change of its content is seen."""
    return SOURCES[wildcards.source].path or []


rule fetch:
    input:
        local=local_path,
    output:
        folder=directory("results/models/fetched/{source}"),
    log:
        "results/models/logs/fetch/{source}.log",
    wildcard_constraints:
        source="|".join(map(re.escape, SOURCES)),
    priority: 100
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
    priority: 100
    envmodules:
        *MODULES,
    params:
        p={"trust_remote_code": STUDY.model.trust_remote_code},
        code=code("convert.py"),
    script:
        "../scripts/convert.py"

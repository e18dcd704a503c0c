# in: the fetched prompt source, or the prompts made of documents
# out: prompts/<chunk>.parquet, one per shard's worth of prompts (shared), and prompts.parquet, all of them


from alignment_limits.study.shards import (
    block_names,
    block_seed,
    chunk_names,
    chunk_range,
    chunk_size,
)

CHUNK = chunk_size(
    STUDY.sampling.shard_tokens, STUDY.sampling.block, STUDY.sampling.max_new_tokens
)
CHUNKS = chunk_names(STUDY.prompts.count, CHUNK)
# prompts behind the study's own: whatever is trained on them is held out
LABELLED = STUDY.gold_labels.prompts if STUDY.gold_labels else 0
TRAINING_CHUNKS = chunk_names(LABELLED, CHUNK, first=STUDY.prompts.count)


wildcard_constraints:
    chunk=r"p\d+-\d+",


def shared(path):
    """A file of all studies with this model, these prompts, this sampling law and seed."""
    return f"results/shared/{STUDY.base_id}/{path}"


def chunk_settings(wildcards):
    first, end = chunk_range(wildcards.chunk)
    system = STUDY.prompts.system
    return ({} if system is None else {"system": system}) | {
        "first": first,
        "end": end,
        "seed": STUDY.seed,
        "template": STUDY.prompts.template,
        "date": STUDY.prompts.date if STUDY.prompts.template == "chat" else None,
        "text_column": STUDY.prompts.text_column,
        "stratify_by": STUDY.prompts.stratify_by,
        "trust_remote_code": STUDY.model.trust_remote_code,
    }


# documents are made into prompts first (documents.smk)
PROMPT_SOURCE = (
    shared("documents") if STUDY.documents else fetched(STUDY.prompts.source)
)


rule prompts_chunk:
    input:
        source=PROMPT_SOURCE,
        model=MODEL_FOLDER if STUDY.prompts.template == "chat" else [],
    output:
        prompts=shared("prompts/{chunk}.parquet"),
    log:
        results("logs/prompts_chunk/{chunk}.log"),
    benchmark:
        results("benchmarks/prompts_chunk/{chunk}.tsv")
    priority: 90
    localrule: True
    params:
        p=chunk_settings,
        code=code("prompts_chunk.py"),
    script:
        "../scripts/prompts_chunk.py"


rule prompts:
    input:
        chunks=expand(shared("prompts/{chunk}.parquet"), chunk=CHUNKS),
    output:
        prompts=results("prompts.parquet"),
    log:
        results("logs/prompts/prompts.log"),
    benchmark:
        results("benchmarks/prompts/prompts.tsv")
    priority: 90
    localrule: True
    params:
        p={"study": STUDY.study},
        code=code("prompts.py"),
    script:
        "../scripts/prompts.py"

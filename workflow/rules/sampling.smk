# in: a chunk of prompts, the base model, and the preflight of everything that comes later
# out: samples/<model>/<chunk>-<block>.parquet, and a summary per prompt
rule preflight_sampling:
    input:
        prompts=results("prompts.parquet"),
        model=MODEL_FOLDER,
    output:
        passed=results("preflight/sampling.json"),
    params:
        p={
            "max_new_tokens": STUDY.sampling.max_new_tokens,
            "template": STUDY.prompts.template,
            "trust_remote_code": STUDY.model.trust_remote_code,
        },
        code=code("preflight_sampling.py"),
    log:
        results("logs/preflight_sampling/sampling.log"),
    priority: 90
    script:
        "../scripts/preflight_sampling.py"


rule sample:
    input:
        prompts=results("prompts/{chunk}.parquet"),
        model=MODEL_FOLDER,
        # waited for before the first shard, but a new reward's preflight resamples nothing
        preflight=ancient(results("preflight/sampling.json")),
        rewards=ancient(results("preflight/rewards.json")),
    output:
        samples=results(f"samples/{BASE}/{{chunk}}-{{block}}.parquet"),
    params:
        p=lambda w: {
            "model": STUDY.model.model_dump(exclude={"source"}),
            # how many samples there are in all, and how they are sharded, changes no shard
            "sampling": STUDY.sampling.model_dump(exclude={"samples_per_prompt", "shard_tokens"}),
            "template": STUDY.prompts.template,
            "seed": STUDY.seed,
            "block": int(w.block[1:]),
        },
        code=code("sample.py", f"alignment_limits.sampling.{STUDY.sampling.engine}_engine"),
    log:
        results("logs/sample/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/sample/{chunk}-{block}.tsv")
    threads: workflow.cores or 1
    resources:
        gpu=1,
    priority: 10
    script:
        "../scripts/sample.py"


rule samples_summary:
    input:
        samples=shards(f"samples/{BASE}/{{chunk}}-{{block}}.parquet"),
    output:
        summary=results("samples/summary.parquet"),
    params:
        p={"study": STUDY.study},
        code=code("samples_summary.py"),
    log:
        results("logs/samples_summary/summary.log"),
    script:
        "../scripts/samples_summary.py"

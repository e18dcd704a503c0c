# in: a chunk of prompts and the base model
# out: samples/<chunk>-<block>.parquet (shared), and a summary per prompt
#
# Preflights run before the first shard because of their priority; they are not inputs. Sampling uses all cores, so it
# starts only after the last preflight, and a failed preflight ends the run. As inputs they would cause everything to be
# sampled again when a reward is added. As ancient inputs they would hide other reasons to run (Snakemake 9.27 masks
# every job below a rerun one, but does not pass the rerun on through ancient files).
wildcard_constraints:
    block=r"b\d{5}",


if STUDY.sampling:

    rule preflight_sampling:
        input:
            prompts=expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
            training=expand(
                shared("prompts/{chunk}.parquet"), chunk=LAYOUT.training_chunks
            ),
            model=LAYOUT.model,
            policies=list(LAYOUT.brought.values()),
        output:
            passed=results("preflight/sampling.json"),
        log:
            results("logs/preflight_sampling/sampling.log"),
        benchmark:
            results("benchmarks/preflight_sampling/sampling.tsv")
        priority: 90
        conda:
            ENVIRONMENT
        envmodules:
            *MODULES,
        params:
            p={
                "max_new_tokens": STUDY.sampling.max_new_tokens,
                "template": STUDY.asked.template,
                "date": STUDY.asked.date if STUDY.asked.template == "chat" else None,
                "trust_remote_code": STUDY.model.trust_remote_code,
                "context": STUDY.model.context,
                "policies": list(LAYOUT.brought),
                **({"chat": STUDY.asked.chat} if STUDY.asked.chat else {}),
            },
            code=code("preflight_sampling.py"),
        script:
            "../scripts/preflight_sampling.py"

    rule sample:
        input:
            prompts=shared("prompts/{chunk}.parquet"),
            model=LAYOUT.model,
        output:
            samples=shared("samples/{chunk}-{block}.parquet"),
        log:
            results("logs/sample/{chunk}-{block}.log"),
        benchmark:
            results("benchmarks/sample/{chunk}-{block}.tsv")
        priority: 30  # uses all cores, so it runs before the jobs with one core, which then fill the cores to the end
        conda:
            ENVIRONMENT
        envmodules:
            *MODULES,
        threads: CORES
        resources:
            gpu=SAMPLERS if STUDY.sampling.engine != "endpoint" else 0,
            mem_mb=MEMORY.of("sample"),
        params:
            p=lambda w: LAYOUT.sampling_settings(int(w.block[1:]), STUDY.seed),
            code=code(
                "sample.py",
                f"alignment_limits.sampling.{STUDY.sampling.engine}_engine",
            ),
        script:
            "../scripts/sample.py"

    # Compares the engine with a plain forward pass as soon as the first shard exists. It is not an input of the other
    # shards: then nothing could be sampled meanwhile. A failure ends the run.
    rule read_samples:
        input:
            samples=shared(f"samples/{LAYOUT.chunks[0]}-{LAYOUT.blocks[0]}.parquet"),
            prompts=shared(f"prompts/{LAYOUT.chunks[0]}.parquet"),
            model=LAYOUT.model,
        output:
            read=LAYOUT.read_again,
        log:
            results("logs/read_samples/read_samples.log"),
        benchmark:
            results("benchmarks/read_samples/read_samples.tsv")
        priority: 80  # before the next shard
        conda:
            ENVIRONMENT
        envmodules:
            *MODULES,
        threads: CORES
        resources:
            gpu=GPU,
            mem_mb=MEMORY.of("read_samples"),
        params:
            p={
                "model": LAYOUT.base,
                "template": STUDY.asked.template,
                "temperature": STUDY.sampling.temperature,
                "top_p": STUDY.sampling.top_p,
                "dtype": STUDY.model.dtype,
                "elsewhere": STUDY.samples is not None,
                "trust_remote_code": STUDY.model.trust_remote_code,
            }
            | LAYOUT.reading,
            code=code("read_samples.py"),
        script:
            "../scripts/read_samples.py"


rule samples_summary:
    input:
        samples=LAYOUT.shards("samples/{chunk}-{block}.parquet"),
    output:
        summary=results("samples/summary.parquet"),
    log:
        results("logs/samples_summary/summary.log"),
    benchmark:
        results("benchmarks/samples_summary/summary.tsv")
    conda:
        ENVIRONMENT
    params:
        p={"study": STUDY.study},
        code=code("samples_summary.py"),
    script:
        "../scripts/samples_summary.py"

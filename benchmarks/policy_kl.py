"""KL of a policy from its replies: variance of the two estimators, throughput and memory, on a real model.

    python benchmarks/policy_kl.py variance --model MODEL_FOLDER --texts FILE [FILE …]
    python benchmarks/policy_kl.py speed --model MODEL_FOLDER
    python benchmarks/policy_kl.py memory --model MODEL_FOLDER

The policies are the model with a LoRA adapter of random weights, at several distances. Each command prints a Markdown
table. `speed` alternates between the methods and compares CPU seconds of one thread, which depend least on other work
on the machine. `memory` is the peak of a separate process, above the memory of the loaded models.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM

from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.models.load import TOKENS_CPU, SplitModel, batches
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.policies.kl import SamplingLaw, sequence_kl
from alignment_limits.sampling.shard import Request, encode
from alignment_limits.sampling.transformers_engine import TransformersEngine
from alignment_limits.study.base import Source
from alignment_limits.study.sampling import Model, Sampling

LAW = SamplingLaw()
WIDE = 151_936  # the size of a large present-day vocabulary


def load(folder: Path, scale: float = 0.0) -> Any:
    """The model in float32, with `scale` times a random adapter of rank 8 merged into all its linear layers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if scale:
        torch.manual_seed(0)
        config = LoraConfig(r=8, lora_alpha=8 * scale, target_modules="all-linear", init_lora_weights=False)
        model = get_peft_model(model, config).merge_and_unload()
    return model.eval()


def variance(a: argparse.Namespace) -> None:
    """Per-reply variance within prompts of both estimators, on replies that the policy sampled."""
    tokenizer = load_tokenizer(a.model)
    lines = [line.strip() for file in a.texts for line in file.read_text("utf-8").splitlines() if line.strip()]
    chosen = np.random.default_rng(0).choice(lines, a.prompts, replace=False).tolist()
    prompts, stop = encode(chosen, tokenizer, "none"), stop_tokens(a.model, tokenizer)
    base = SplitModel(load(a.model))
    print("| adapter | tokens | KL, exact next-token | log-ratio | variance, log-ratio to exact [95 %] | below 0 |")
    print("|--:|--:|--:|--:|--:|--:|")
    for scale in a.scales:
        for longest in a.lengths:
            policy = load(a.model, scale)
            policy.save_pretrained(a.scratch)
            tokenizer.save_pretrained(a.scratch)
            settings = Sampling(
                engine="transformers", samples_per_prompt=a.replies, block=a.replies, max_new_tokens=longest
            )
            engine = TransformersEngine(
                a.scratch, Model(name="policy", source=Source(path=str(a.scratch))), settings, 512, 1
            )
            drawn = engine.generate([Request(str(i), ids, a.replies, i) for i, ids in enumerate(prompts)], stop, Quiet)
            replies = [c.token_ids for row in drawn for c in row]
            sent = [ids for ids in prompts for _ in range(a.replies)]
            found = sequence_kl(SplitModel(policy), base, sent, replies, LAW)
            kl, ratio = (x.reshape(a.prompts, -1) for x in (found.kl, found.log_ratio))
            of_each = [x.var(axis=1, ddof=1) for x in (ratio, kl)]
            boot = PromptBootstrap(a.prompts, replicates=2000, seed=0)
            low, high = (float(x[0]) for x in boot.ratio(of_each[0][:, None], of_each[1][:, None]))
            error = [np.sqrt(v.mean() / kl.size) for v in of_each]
            print(
                f"| {scale:g} | {longest} | {kl.mean():.4f} ± {error[1]:.4f} | {ratio.mean():.4f} ± {error[0]:.4f} "
                f"| {of_each[0].mean() / of_each[1].mean():.1f} [{low:.1f}, {high:.1f}] | {(ratio < 0).mean():.0%} |",
                flush=True,
            )


class Quiet(tqdm):
    """No progress bar."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"disable": True})

    @property
    def format_dict(self) -> dict[str, Any]:
        return {"elapsed": 1.0}


def plain_forward(
    models: list[Any], prompts: list[list[int]], replies: list[list[int]], groups: list[np.ndarray]
) -> None:
    """Logits of every position of every batch by every model: no softmax, no KL."""
    rows = [p + r for p, r in zip(prompts, replies, strict=True)]
    for group in groups:
        width = max(len(rows[i]) for i in group)
        ids, mask = torch.zeros(len(group), width, dtype=torch.long), torch.zeros(len(group), width, dtype=torch.long)
        for j, i in enumerate(group):
            ids[j, : len(rows[i])], mask[j, : len(rows[i])] = torch.tensor(rows[i]), 1
        with torch.inference_mode():
            for model in models:
                model(input_ids=ids, attention_mask=mask, use_cache=False)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def speed(a: argparse.Namespace) -> None:
    """The function of our rule, compared with forward passes of both models alone."""
    whole, halves = [load(a.model, s) for s in (0.1, 0)], [SplitModel(load(a.model, s)) for s in (0.1, 0)]
    rng = np.random.default_rng(0)
    cases = {
        "20 tokens after 15": np.full(64, 20),
        "log-normal, median 60, σ = 0.8, after 15": np.clip(rng.lognormal(np.log(60), 0.8, 32), 1, 400).astype(int),
    }
    print("| replies | tokens per CPU second | speed relative to a forward pass, same batches | in batches of 16 |")
    print("|---|--:|--:|--:|")
    for name, lengths in cases.items():
        prompts = rng.integers(10, 40_000, (len(lengths), 15)).tolist()
        replies = [rng.integers(10, 40_000, n).tolist() for n in lengths]
        groups = {
            "same": list(batches([15 + n for n in lengths], TOKENS_CPU)),
            "as they come": np.array_split(np.arange(len(lengths)), len(lengths) // 16),
        }
        work = {k: functools.partial(plain_forward, whole, prompts, replies, g) for k, g in groups.items()}
        work["ours"] = functools.partial(sequence_kl, *halves, prompts, replies, LAW)
        rounds = [{k: cpu_seconds(w) for k, w in work.items()} for _ in range(a.rounds)]
        best = {k: min(r[k] for r in rounds) for k in work}
        shares = " | ".join(f"{best[k] / best['ours']:.0%}" for k in groups)
        print(f"| {name} | {lengths.sum() / best['ours']:.0f} | {shares} |", flush=True)


def memory(a: argparse.Namespace) -> None:
    """Peak memory above that of two loaded models with a large vocabulary, each method in its own process."""
    print(f"| method, vocabulary of {WIDE:,} | tokens of a batch | peak above the models |\n|---|--:|--:|")
    for method, budget in (("plain", 1024), ("ours", 1024), ("ours", 4096)):
        command = [sys.executable, __file__, "peak", "--model", a.model, "--method", method, "--tokens", budget]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        name = {"plain": "all logits of both models and their KL at once", "ours": "a few positions at a time"}[method]
        print(f"| {name} | {budget} | {run.stdout.strip()} |", flush=True)


def peak(a: argparse.Namespace) -> None:
    """Peak memory of one method, in this process."""
    config = AutoConfig.from_pretrained(a.model)
    config.vocab_size = WIDE
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(AutoModelForCausalLM.from_config(config).eval())
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, WIDE, (a.tokens // 64, 16)).tolist()
    replies = rng.integers(0, WIDE, (a.tokens // 64, 48)).tolist()
    with torch.inference_mode():
        models[0](torch.tensor([prompts[0][:2]]))
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak size
    if a.method == "ours":
        sequence_kl(*map(SplitModel, models), prompts, replies, LAW, tokens=a.tokens)
    else:
        ids = torch.tensor([p + r for p, r in zip(prompts, replies, strict=True)])
        with torch.inference_mode():
            p, q = (torch.log_softmax(m(ids, use_cache=False).logits[:, 15:-1], -1) for m in models)
            (p.exp() * (p - q)).sum((1, 2))
    print(f"{(kilobytes('VmHWM') - before) / 2**20:.2f} GB")


def kilobytes(mark: str) -> int:
    """Memory of this process in kB: VmRSS is the present size, VmHWM the peak."""
    (line,) = [x for x in Path("/proc/self/status").read_text("utf-8").splitlines() if x.startswith(f"{mark}:")]
    return int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["variance", "speed", "memory", "peak"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="files with one prompt per line")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--replies", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20])
    parser.add_argument("--scales", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--scratch", type=Path, default=Path("results/benchmarks/policy_kl"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", choices=["ours", "plain"], default="ours", help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=1024, help=argparse.SUPPRESS)
    a = parser.parse_args()
    torch.set_num_threads(1)
    {"variance": variance, "speed": speed, "memory": memory, "peak": peak}[a.what](a)


if __name__ == "__main__":
    main()

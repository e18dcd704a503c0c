"""Speed of a transformer reward, compared with a simple loop over padded batches of 64 in file order, or with vLLM.

    python benchmarks/scoring.py --model ENCODER_FOLDER --texts FILE [FILE …]
    python benchmarks/scoring.py --model CLASSIFIER_FOLDER --pooling --texts FILE [FILE …]

With `--pooling` the model is a sequence classifier of a causal language model, and vLLM's pooling runner computes the
same logits.

The texts are lines of the files, joined to a length that is drawn for each text. So real words come in the lengths of
replies. There are two cases: replies of a chat model (log-normal with a long tail), and the short continuations of the
default study (all near 15 words), where sorting gains little. Repeats alternate between the two methods. The table
gives the fastest repeat of each, because other work on the machine can only slow it down.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from alignment_limits.rewards.load import load_reward

TOWARD, AWAY = ["Thank you, that was kind."], ["Go away, you fool."]
BATCH = 64
CASES: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {  # name: words per text
    "chat replies: log-normal, median 30 words, σ = 1": lambda rng, n: rng.lognormal(np.log(30), 1.0, n),
    "short continuations: 12 to 18 words": lambda rng, n: rng.uniform(12, 18, n),
}


def make_texts(words: list[str], lengths: NDArray[np.float64], rng: np.random.Generator) -> list[str]:
    """Texts of consecutive words, [n]."""
    counts = np.clip(lengths, 1, 250).astype(int)
    starts = rng.integers(0, len(words) - 250, len(counts))
    return [" ".join(words[s : s + c]) for s, c in zip(starts, counts, strict=True)]


def naive_scorer(folder: Path, device: str) -> Callable[[list[str]], NDArray[np.float64]]:
    """Mean-pooled cosines: 64 texts at a time in the given order, padded to the longest."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)

    def embed(texts: list[str]) -> torch.Tensor:
        rows = []
        with torch.inference_mode():
            for i in range(0, len(texts), BATCH):
                batch = tokenizer(
                    texts[i : i + BATCH], padding=True, truncation=True, max_length=256, return_tensors="pt"
                ).to(device)
                hidden = model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1)
                rows.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1))
        return torch.cat(rows)

    good, bad = embed(TOWARD), embed(AWAY)

    def score(texts: list[str]) -> NDArray[np.float64]:
        e = embed(texts)
        scores: NDArray[np.float64] = ((e @ good.T).amax(1) - (e @ bad.T).amax(1)).double().cpu().numpy()
        return scores

    return score


def vllm_scorer(folder: Path) -> Callable[[list[str]], NDArray[np.float64]]:
    """Logits of vLLM's pooling runner."""
    from alignment_limits.sampling.vllm_engine import CPU_OPTIONS, prepare_environment

    prepare_environment(torch.get_num_threads())
    from vllm import LLM, PoolingParams

    own = {
        "runner": "pooling",
        "convert": "classify",
        "dtype": "float32",
        "max_model_len": 2048,
        "enable_prefix_caching": False,
    }
    model = LLM(model=str(folder), disable_log_stats=True, **own, **CPU_OPTIONS)
    raw = PoolingParams(use_activation=False, task="classify")

    def score(texts: list[str]) -> NDArray[np.float64]:
        found = model.classify(texts, pooling_params=raw, use_tqdm=False)
        return np.array([each.outputs.probs[0] for each in found])

    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a transformers encoder (MiniLM)")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="text files, one text per line")
    parser.add_argument("--replies", type=Path, nargs="*", default=[], help="sample shards of a study, unchanged")
    parser.add_argument("--count", type=int, default=768, help="texts per case")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pooling", action="store_true", help="compare a sequence classifier with vLLM's pooling")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()

    words = " ".join(f.read_text("utf-8") for f in args.texts).split()
    spec = {"kind": "embedding", "toward": TOWARD, "away": AWAY, "text": "reply", "sign": 1}
    if args.pooling:
        spec = {"kind": "sequence-classifier", "text": "reply", "sign": 1}
    other, scorer = ("vllm", vllm_scorer) if args.pooling else ("naive", partial(naive_scorer, device=args.device))
    reward = load_reward(spec, args.model, device=args.device)
    methods = {other: scorer(args.model), "ours": lambda texts: reward.score([""] * len(texts), texts).score}

    threads = torch.get_num_threads()
    print(f"{args.count} texts, {args.device}, {threads} thread(s), float32, best of {args.repeats}\n")
    print(f"| texts | {other}, texts/s | ours, texts/s | ratio | largest difference |")
    print("|---|--:|--:|--:|--:|")
    cases = {}
    for name, draw in CASES.items():
        rng = np.random.default_rng(0)
        cases[name] = make_texts(words, draw(rng, args.count), rng)
    if args.replies:
        replies = pl.read_parquet(args.replies)["text"].sample(args.count, seed=0, shuffle=True)
        cases["a study's own replies"] = replies.to_list()
    for name, drawn in cases.items():
        texts = list(dict.fromkeys(drawn))  # distinct texts, so caching does not help
        seconds: dict[str, list[float]] = {m: [] for m in methods}
        results = {}
        for _ in range(args.repeats):
            for method, score in methods.items():
                start = time.perf_counter()
                results[method] = score(texts)
                seconds[method].append(time.perf_counter() - start)
        rate = {m: len(texts) / min(s) for m, s in seconds.items()}
        difference = float(np.abs(results["ours"] - results[other]).max())
        ratio = rate["ours"] / rate[other]
        print(
            f"| {name} | {rate[other]:.1f} | {rate['ours']:.1f} | {ratio:.2f} | {difference:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

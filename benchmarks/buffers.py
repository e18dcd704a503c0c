"""Time saved by keeping large memory buffers: a reward is scored with glibc's own settings and with the workflow's.

    .venv/bin/python benchmarks/buffers.py --model results/models/<model> --documents <documents.parquet>

glibc returns large buffers to the kernel as soon as they are free. A model on a CPU needs such a buffer in every layer,
and the kernel clears each page before it gives it back. Both variants run in turn, each in its own process, because a
process reads these settings when it starts.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMON = Path(__file__).parent.parent / "workflow/rules/common.smk"


def settings() -> dict[str, str]:
    """The environment variables of malloc that the workflow sets for its jobs."""
    found = re.findall(r'"(MALLOC_\w+)", str\(2\*\*(\d+)\)', COMMON.read_text("utf-8"))
    if not found:
        raise SystemExit(f"{COMMON} sets no MALLOC_ variables")
    return {name: str(2 ** int(power)) for name, power in found}


def measure(model: Path, documents: Path, replies: int) -> float:
    """Seconds of one thread for the information gain of references on their documents, without start-up."""
    import polars as pl
    import torch

    from alignment_limits.rewards.load import load_reward

    torch.set_num_threads(1)
    table = pl.read_parquet(documents).head(replies)
    reward = load_reward(
        {"kind": "information-gain", "max_tokens": 128, "text": "reply", "sign": 1}, model, device="cpu"
    )
    start = time.perf_counter()
    reward.score(table["document"].to_list(), table["reference"].to_list())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--replies", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(measure(a.model, a.documents, a.replies))
        return
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"OMP_NUM_THREADS": "1"}
    seconds: dict[str, list[float]] = {"glibc": [], "workflow": []}
    for _ in range(a.rounds):
        for name, env in (("glibc", plain), ("workflow", plain | settings())):
            run = subprocess.run(
                [sys.executable, *sys.argv, "--one"], env=env, capture_output=True, text=True, check=True
            )
            seconds[name].append(float(run.stdout.split()[-1]))
    ratios = [g / w for g, w in zip(seconds["glibc"], seconds["workflow"], strict=True)]
    print("| malloc settings | seconds, median | speed-up |\n|---|--:|--:|")
    print(f"| glibc's own | {statistics.median(seconds['glibc']):.1f} | 1 |")
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    print(f"| the workflow's | {statistics.median(seconds['workflow']):.1f} | {spread} |")


if __name__ == "__main__":
    main()

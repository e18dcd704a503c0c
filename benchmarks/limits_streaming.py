"""Speed, memory and accuracy of the frontier when very many scores are streamed from Parquet.

    python benchmarks/limits_streaming.py --folder DIR            10^7 scores; --prompts 1000000 --files 20: 10^9
    writes DIR/scores-*.parquet (7.4 bytes a row of two scores, deleted at the end) and streaming.md in --out

The first reward is Gaussian, N(offset of the prompt, 1); its limit is sqrt(2 KL). The second has a correlation of 0.6
with it; its limit under the first is 0.6 sqrt(2 KL). Both are float32 on disk. The command for users sums the files as
two parts, one process after the other, and merges them. The rate in memory is that of `sum_shard` on arrays of the
first 10^7 scores with the same grid, before, between and after the parts, and of `frontier` on fewer scores. Rates are
given per CPU second and per second of wall time.
"""

import argparse
import os
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.files import atomic
from alignment_limits.limits import frontier
from alignment_limits.limits.streaming import octaves, sum_shard
from alignment_limits.study.estimates import Limits
from alignment_limits.tables.streaming import stream_prompts

CORRELATION = 0.6
LOADED = 10_000_000  # scores for the comparison in memory


def write(folder: Path, prompts: int, samples: int, files: int) -> list[Path]:
    """Write files with equally many prompts each, in row groups of about a million rows."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for f, part in enumerate(np.array_split(np.arange(prompts), files)):
        path = folder / f"scores-{f:03d}.parquet"
        paths.append(path)
        if path.exists():  # complete, as below; its numbers follow from the file's number
            continue
        frames = []
        for block in np.array_split(part, max(1, len(part) * samples // 1_000_000)):
            rng = np.random.default_rng([f, int(block[0])])
            offset = np.repeat(3.0 * rng.standard_normal(len(block)), samples)
            r = rng.standard_normal(len(offset), dtype=np.float32)
            noise = rng.standard_normal(len(offset), dtype=np.float32)
            frames.append(
                pl.DataFrame(
                    {
                        "prompt_id": np.repeat([f"prompt-{i:08d}" for i in block], samples),
                        "sample_id": np.tile(np.arange(samples, dtype=np.int32), len(block)),
                        "rm": (r + offset).astype(np.float32),
                        "human": (CORRELATION * r + np.sqrt(1 - CORRELATION**2) * noise + offset).astype(np.float32),
                    }
                )
            )
        with atomic(path) as temporary:
            pl.concat(frames).write_parquet(temporary, compression="zstd", row_group_size=1_000_000)
    return paths


def command(*words: object) -> tuple[float, float, float]:
    """Run the streaming command; return its wall and CPU seconds and its peak memory in MiB."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "alignment_limits", "stream", *map(str, words)])
    done, peak = 0, 0
    while not done:
        time.sleep(0.05)
        # The kernel's own peak: the rusage of a child includes the memory that its parent had when it forked.
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = max(peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
        done, code, used = os.wait4(child.pid, os.WNOHANG)
    child.returncode = os.waitstatus_to_exitcode(code)
    if child.returncode:
        sys.exit(child.returncode)
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, peak / 1024


def loaded(paths: list[Path], samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first scores as arrays (prompts x samples) in memory, with the prompts' keys."""
    keys, columns, rows = [], ([], []), 0
    for prompts in chain.from_iterable(stream_prompts(str(path), ["rm", "human"]) for path in paths):
        keys.append(prompts.keys)
        for column, kept in zip(prompts.columns, columns, strict=True):
            kept.append(column.astype(np.float64).reshape(-1, samples))
        rows += int(prompts.counts.sum())
        if rows >= LOADED:
            break
    return np.concatenate(keys), np.concatenate(columns[0]), np.concatenate(columns[1])


def timed(job) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="keep the files, for the next run")
    a = parser.parse_args()
    scores = a.prompts * a.samples
    seconds, _ = timed(lambda: write(a.folder, a.prompts, a.samples, a.files))
    paths = sorted(a.folder.glob("scores-*.parquet"))
    size = sum(path.stat().st_size for path in paths)
    print(f"{scores:.1e} scores in {len(paths)} files, {size / 1e9:.2f} GB, written in {seconds:.0f} s", flush=True)

    limits = Limits.model_validate({})
    keys, r, v = loaded(paths, a.samples)
    grid = np.concatenate([octaves(), limits.betas])
    sum_shard(r[:100], {"human": v[:100]}, betas=grid, keys=keys[:100])  # compiles, or reads compiled code
    parts = [a.folder / "part-1.npz", a.folder / "part-2.npz"]
    for part in parts:
        part.unlink(missing_ok=True)  # an existing part would be continued

    in_memory = [timed(lambda: sum_shard(r, {"human": v}, betas=grid, keys=keys))]
    streamed = []
    for part, tables in zip(parts, (paths[::2], paths[1::2]), strict=True):
        streamed.append(command("sum", "--optimized", "rm", "--evaluated", "human", "--tables", *tables, "--out", part))
        in_memory.append(timed(lambda: sum_shard(r, {"human": v}, betas=grid, keys=keys)))
    table = a.folder / "frontier.parquet"
    merging = command("merge", "--parts", *parts[::-1], "--out", table)
    few = slice(0, min(len(r), 2000))
    whole_wall, whole_cpu = timed(
        lambda: frontier(r[few], {"rm": r[few], "human": v[few]}, betas=limits.betas, kls=limits.kls, keys=keys[few])
    )
    shard_wall, shard_cpu = np.mean(in_memory, axis=0)
    (wall, cpu), peak = np.sum(streamed, axis=0)[:2], max(s[2] for s in streamed)
    written = sum(part.stat().st_size for part in parts)
    lines = [
        f"{a.prompts:,} prompts x {a.samples:,} samples, two rewards, {len(np.unique(grid))} temperatures, "
        f"{size / 1e9:.1f} GB of Parquet",
        "",
        "| computation | million scores a second, CPU | wall | peak memory |",
        "|---|---|---|---|",
        f"| streamed from Parquet, two parts | {scores / cpu / 1e6:.1f} | {scores / wall / 1e6:.1f} | {peak:.0f} MiB |",
        f"| the same sums of {r.size:.0e} scores in memory | {r.size / shard_cpu / 1e6:.1f} | "
        f"{r.size / shard_wall / 1e6:.1f} | |",
        f"| `frontier` in memory, {r[few].size:.0e} scores | {r[few].size / whole_cpu / 1e6:.1f} | "
        f"{r[few].size / whole_wall / 1e6:.1f} | |",
        "",
        f"Streaming runs at {shard_cpu / r.size / (cpu / scores):.0%} of the rate of the sums in memory (CPU; "
        f"{shard_wall / r.size / (wall / scores):.0%} wall); the parts are {written / 1e6:.0f} MB, "
        f"merging them and reading the table took {merging[0]:.1f} s ({merging[1]:.1f} s CPU, {merging[2]:.0f} MiB).",
        f"In memory before, between and after the parts (CPU): "
        f"{', '.join(f'{r.size / c / 1e6:.1f}' for _, c in in_memory)} million a second.",
        "",
        "| KL | evaluated | limit | error | half the interval | plug-in's error | reliable |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in pl.read_parquet(table).filter(pl.col("at") == "kl").iter_rows(named=True):
        truth = (CORRELATION if row["evaluated"] == "human" else 1.0) * np.sqrt(2 * row["kl"])
        half = (row["gain_high"] - row["gain_low"]) / 2
        lines.append(
            f"| {row['kl']} | {row['evaluated']} | {truth:.5f} | {row['gain'] - truth:+.5f} | {half:.5f} | "
            f"{row['gain_plugin'] - truth:+.5f} | {row['reliable']} |"
        )
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "streaming.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    for path in [] if a.keep else [*paths, *parts, table]:
        path.unlink()


if __name__ == "__main__":
    main()

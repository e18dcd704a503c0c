"""CPU seconds that a sampling shard costs in addition to sampling when it runs through Slurm.

    .venv/bin/python benchmarks/slurm_overhead.py --study config/studies/small.yaml --prompts 2 16

Starts the one-node Slurm of the tests (needs Debian and root) and runs one shard for each number of prompts. It reads
the CPU time of every process of the job from /proc until the job ends; CPU time does not count waiting for a busy
machine. The cost of two Snakemakes (the job's and the one that it starts) does not depend on the shard. Only sampling
grows with the shard. A straight line through the sizes separates sampling from imports and from loading the model.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]
NODE = ROOT / "tests/slurm/one_node.sh"


def shard_study(base: dict, prompts: int, folder: Path) -> tuple[Path, int]:
    """A study file with a single shard of that many prompts, and its maximum number of new tokens."""
    sampling = base["sampling"]
    tokens = prompts * sampling["block"] * sampling["max_new_tokens"]
    study = base | {
        "study": f"slurm-overhead-{prompts}",
        "prompts": base.get("prompts", {}) | {"count": prompts},
        "sampling": sampling | {"samples_per_prompt": sampling["block"], "shard_tokens": tokens},
    }
    file = folder / f"{prompts}.yaml"
    file.write_text(yaml.safe_dump(study), "utf-8")
    return file, tokens


def cpu_of_jobs(process: subprocess.Popen) -> dict[str, dict[str, float]]:
    """CPU seconds of each Slurm job until `process` ends, in Snakemake and in the job's script."""
    seen: dict[tuple[str, int], tuple[str, float]] = {}
    while process.poll() is None:
        for other in psutil.process_iter():
            try:
                job = other.environ().get("SLURM_JOB_ID")
                if job:
                    kind = "script" if any(".snakemake/scripts/" in a for a in other.cmdline()) else "snakemake"
                    times = other.cpu_times()
                    seen[job, other.pid] = kind, times.user + times.system
            except psutil.Error:
                continue
        time.sleep(0.2)
    jobs: dict[str, dict[str, float]] = {}
    for (job, _), (kind, seconds) in seen.items():
        costs = jobs.setdefault(job, {"script": 0.0, "snakemake": 0.0})
        costs[kind] += seconds
    return jobs


def measure(file: Path) -> tuple[float, float]:
    """CPU seconds of the study's only sampling job, as (Snakemake, script)."""
    command = [Path(sys.executable).parent / "snakemake", "--workflow-profile", "slurm", "--configfile", file]
    command += [
        "--until",
        "sample",
        "--slurm-status-command",
        "squeue",
        "--slurm-init-seconds-before-status-checks",
        "2",
    ]
    command += ["--set-threads", "sample=1", "--slurm-keep-successful-logs"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        jobs = cpu_of_jobs(process)
        said.seek(0)
        output = said.read()
    found = re.search(r"rule sample:.*?SLURM jobid '?(\d+)", output, re.DOTALL)
    if process.returncode or not found:
        raise SystemExit(output[-4000:])
    costs = jobs[found[1]]
    return costs["snakemake"], costs["script"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--prompts", type=int, nargs="+", default=[2, 16])
    arguments = parser.parse_args()
    base = yaml.safe_load(arguments.study.read_text("utf-8"))
    subprocess.run(["bash", NODE, "up"], check=True)
    folder = Path(tempfile.mkdtemp())
    try:
        rows = []
        for prompts in arguments.prompts:
            file, tokens = shard_study(base, prompts, folder)
            rows.append((tokens, *measure(file)))
            print(f"{tokens:>8} tokens: Snakemake {rows[-1][1]:.1f} s, script {rows[-1][2]:.1f} s of CPU", flush=True)
    finally:
        subprocess.run(["bash", NODE, "down"], check=False)
        shutil.rmtree(folder)
        for prompts in arguments.prompts:
            shutil.rmtree(ROOT / f"results/slurm-overhead-{prompts}", ignore_errors=True)
    (small, s0, x0), (large, s1, x1) = rows[0], rows[-1]
    rate = (x1 - x0) / (large - small)
    fixed, snakemake = x0 - rate * small, (s0 + s1) / 2
    print(f"a shard: {snakemake:.1f} s Snakemake, {fixed:.1f} s start of the script, {1000 * rate:.2f} ms a token")
    for seconds in (10, 30, 60, 300, 900, 3600):
        overhead = snakemake + fixed
        print(f"{seconds:>6} s of sampling: {overhead / (overhead + seconds):.1%} overhead")


if __name__ == "__main__":
    main()

"""Time that Snakemake needs to find that a study with very many shards has nothing to do.

    .venv/bin/python benchmarks/no_op.py [chunks]

The script creates a study with 50 × 3 shards per chunk (samples, scores of two rewards) as empty files in a scratch
folder. `snakemake --touch` creates the records that Snakemake would have kept of the jobs. Times are CPU seconds.
"""

import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/workflow"))

from project import Project  # noqa: E402

FILES = (".parquet", ".json", ".png", ".pdf", ".html")
REWARDS = {name: {"kind": "python", "function": f"own_rewards:{name}"} for name in ("vowels", "letters")}


def lay_out(project: Project, chunks: int) -> int:
    """Create empty outputs of all jobs and Snakemake's records of them; return the number of shards."""
    (project.folder / "prompts.txt").write_text("".join(f"prompt number {i}\n" for i in range(4 * chunks)))
    project.study(
        {
            "prompts": {"count": 4 * chunks},
            "sampling": {"samples_per_prompt": 400},
            "rewards": REWARDS,
            "ensembles": {},
        }
    )
    for outputs in re.findall(r"^    output: (.*)$", project.run("--dry-run"), re.M):
        for path in (project.folder / name for name in outputs.split(", ")):
            if path.suffix in FILES:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            else:
                path.mkdir(parents=True, exist_ok=True)
    project.run("--touch", "--forceall")
    return len(list((project.folder / "results/shared").glob("*/s*/**/*.parquet")))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model").mkdir()
        project = Project.new(Path(scratch) / "project", Path(scratch) / "model")
        shards = lay_out(project, int(sys.argv[1]) if len(sys.argv) > 1 else 33)
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            said = subprocess.run(**project.command(), capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert "Nothing to be done" in said.stdout + said.stderr, said.stderr
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{shards} shards: found that nothing is to be done in {seconds:.2f} CPU s")

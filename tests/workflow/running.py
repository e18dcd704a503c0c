"""Running this environment's Snakemake in the project's folder."""

import os
import subprocess
import sys
from pathlib import Path

import forked

ROOT = Path(__file__).parents[2]


def snakemake(*arguments, check=True, anew=False, **variables):
    """Run this environment's Snakemake in the project's folder; it and its jobs are forks, or start Python anew."""
    python = [sys.executable] if anew else forked.command()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"} | variables
    command = [*python, "-m", "snakemake", "--cores", "all", "--nocolor", *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if check and run.returncode:
        raise AssertionError(f"snakemake {' '.join(map(str, arguments))} failed:\n{(run.stdout + run.stderr)[-6000:]}")
    return run

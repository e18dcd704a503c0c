"""`alignment-limits plan [Snakemake's arguments]`: how many prompts and samples a study needs, with this one as pilot.

Runs the study as far as its plan needs it, and prints the plan.
"""

from __future__ import annotations

import argparse
import subprocess
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; all that it does not know go to Snakemake."""
    parser.set_defaults(snakemake=[])
    parser.epilog = "Arguments are Snakemake's: --configfile STUDY.yaml chooses the study, --cores how many to use."


def run(arguments: argparse.Namespace) -> str | None:
    """Make the plan; Snakemake's own messages say what failed."""
    words = ["--logger", "brief", *arguments.snakemake]
    if not {"--cores", "-c", "--jobs", "-j", "--workflow-profile"} & {word.split("=")[0] for word in words}:
        words += ["--cores", "all"]
    command = [sys.executable, "-m", "snakemake", *words, "--forcerun", "plan", "--until", "plan", "plan"]
    return None if subprocess.run(command).returncode == 0 else "no plan was made: errors are above"

"""`alignment-limits COMMAND …` (or `python -m alignment_limits COMMAND …`): the commands around a study.

Each command is two functions in a module of `commands/`: `<name>_arguments(parser)`, and `run_<name>(arguments)`, which
returns the message to fail with, or None. Only the module of the given command is imported.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Sequence

from alignment_limits.errors import AlignmentLimitsError

COMMANDS = {
    "frontier": ("scores", "limits and figures of a table of scores, in seconds; a study is not needed"),
    "import": ("imports", "a table from samples of other projects, with a verdict on what drew them"),
    "plan": ("studies", "how many prompts and samples a study needs; this study is the pilot"),
    "why": ("studies", "what a run would do, and why"),
    "verify": ("results", "check that the files of a finished study are unchanged"),
    "adopt": ("results", "keep results that were copied, or whose .snakemake was lost"),
    "timeline": ("figures", "a figure of when each job of a finished study ran, and the overhead of the workflow"),
    "panels": ("figures", "one figure with several finished studies side by side"),
    "stream": ("tables", "the frontier of tables of scores that do not fit in memory"),
    "unnest": ("tables", "convert lists of scores (one row per prompt) to the table of a scores-only study"),
    "selftest": ("selftest", "what this machine does with a model: device, rounding, speed and memory"),
    "where": ("studies", "print the folder of a study's results"),
    "schema": ("studies", "print the JSON schema of the study file, for completion in editors"),
}


def main(given: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0; 1 after a message to the user; 2 for a wrong command line."""
    words = sys.argv[1:] if given is None else [*given]
    # as in jobs (workflow/rules/common.smk): threads that wait for each other take half of the time of small arrays
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    first = argparse.ArgumentParser(
        prog="alignment-limits",
        description="Limits of alignment: commands around a study. Studies themselves run by `make study`.",
        epilog="\n".join(f"  {name:<10}{says}" for name, (_, says) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    first.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of these; COMMAND --help explains it")
    name = first.parse_args(words[:1]).command
    module = importlib.import_module(f"alignment_limits.commands.{COMMANDS[name][0]}")
    run = getattr(module, f"run_{name}")
    parser = argparse.ArgumentParser(
        prog=f"alignment-limits {name}",
        description=inspect.getdoc(run),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    getattr(module, f"{name}_arguments")(parser)
    arguments, others = parser.parse_known_args(words[1:])
    if hasattr(arguments, "snakemake"):
        arguments.snakemake = [*arguments.snakemake, *others]
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        problem = run(arguments)
    except AlignmentLimitsError as error:
        problem = f"error: {error}"
    except BrokenPipeError:  # the reader of the output has closed it
        return 0
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())

"""`alignment-limits COMMAND …` (or `python -m alignment_limits COMMAND …`): what people call around a study.

Each command is two functions in a module of `commands/`: `<name>_arguments(parser)`, and `run_<name>(arguments)`, which
returns the message to fail with, or None. Only the module of the command asked for is imported.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence

from alignment_limits.errors import AlignmentLimitsError

COMMANDS = {
    "plan": ("studies", "how many prompts and samples a study needs, with this one as its pilot"),
    "why": ("studies", "what a run would make, and why"),
    "verify": ("results", "whether a finished study is still what was made"),
    "adopt": ("results", "take over results that were copied, or that lost .snakemake"),
    "timeline": ("figures", "when each job of a finished study ran, and what the workflow itself cost"),
    "panels": ("figures", "finished studies side by side in one figure"),
    "stream": ("tables", "the frontier of tables of scores that are too long for memory"),
    "unnest": ("tables", "lists of scores, one row a prompt, to the table of a scores-only study"),
    "where": ("studies", "the folder of a study's results"),
    "schema": ("studies", "the JSON schema of the study file, for completion in editors"),
}


def main(given: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 after one message to the user, 2 for a command line that cannot be read."""
    words = sys.argv[1:] if given is None else [*given]
    first = argparse.ArgumentParser(
        prog="alignment-limits",
        description="Limits of alignment: commands around a study. Studies themselves run by `make study`.",
        epilog="\n".join(f"  {name:<10}{says}" for name, (_, says) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    first.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of these; COMMAND --help says more")
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
    except BrokenPipeError:  # whoever read the output has seen enough
        return 0
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())

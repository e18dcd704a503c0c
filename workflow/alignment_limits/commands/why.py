"""`alignment-limits why [Snakemake's arguments]`: what would run again, and why, in plain words.

Reads a dry run's reasons. A rule is listed with what changed for it: a setting, a module of the library, a
package, a file; rules that run only because of those come last.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignment_limits.errors import ArtifactError

UNRECORDED = "unrecorded"  # as in jobs/records.py, which imports more than a plan needs
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.M)
_PARAMS = re.compile(r"Params have changed since last execution: Union.*?output: (.*)")
_SHORT = 60  # characters of a setting's value


@dataclass
class Plan:
    """What a dry run lists: per rule, reasons of its own with the number of jobs, and jobs in all."""

    jobs: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def read_plan(said: str) -> Plan:
    """The plan in a dry run's output."""
    plan = Plan()
    for rule, body in _JOB.findall(said):
        if rule == "all":
            continue
        plan.jobs[rule] += 1
        found = re.search(r"^    reason: (.*)$", body, re.M)
        for reason in _reasons(found[1] if found else ""):
            plan.reasons[rule][reason] += 1
    return plan


def explain(plan: Plan) -> str:
    """The plan as text for a person."""
    if not plan.jobs:
        return "Nothing would run: all that was asked for is there and up to date."
    lines = [f"{_jobs(plan.jobs.total())} would run."]
    for rule, reasons in plan.reasons.items():
        lines += [f"  {rule} ({_jobs(n)}): {reason}" for reason, n in reasons.items()]
    followers = [f"{rule} ({n})" for rule, n in plan.jobs.items() if rule not in plan.reasons]
    if followers:
        lines.append("  and because of these: " + ", ".join(followers))
    return "\n".join(lines)


def _jobs(n: int) -> str:
    return "1 job" if n == 1 else f"{n} jobs"


def _reasons(text: str) -> Iterator[str]:
    """A job's own reasons; that an input is made anew by another job is none."""
    if params := _PARAMS.search(text):
        yield from _changed(params[1])
        text = text[: params.start()]
    if "Missing output files" in text:
        yield "not there: new to this study, or deleted"
    if "Incomplete output files" in text:
        yield "left unfinished by a run that was killed"
    if found := re.search(r"(?:^|; )Updated input files: ([^;]*)", text):
        yield f"changed since: {found[1]}"
    if "Set of input files has changed" in text:
        yield "takes other files than before"
    if "Code has changed" in text:
        yield "the script's text changed"
    if "Software environment" in text:
        yield "the software environment changed"
    if "Forced execution" in text:
        yield "asked for"


def _changed(params: str) -> Iterator[str]:
    """What differs between the params before and now: `{…},{…}` of settings and of code, each a dict's repr."""
    halves = re.fullmatch(r"before: (.*) now: (.*?);?\s*", params)
    try:
        before, now = (_by_kind(half) for half in halves.groups())  # type: ignore[union-attr]
    except (AttributeError, ValueError, SyntaxError):
        yield "settings changed"
        return
    if UNRECORDED in before["settings"]:
        yield str(before["settings"][UNRECORDED])
        return
    for key, old, new in _differences(before["settings"], now["settings"]):
        yield f"setting {key}: {_short(old)} → {_short(new)}"
    for key, old, new in _differences(before["code"], now["code"]):
        module = re.fullmatch(r"[0-9a-f]{8}", str(new if new is not None else old))
        yield f"code of {key} changed" if module else f"version of {key}: {old or 'none'} → {new or 'none'}"


def _by_kind(half: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"settings": {}, "code": {}}
    for value in ast.literal_eval(f"[{half}]") if half != "<nothing exclusive>" else []:
        found["code" if any(str(key).endswith(".py") for key in value) else "settings"] = value
    return found


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif before != now:
        yield path, before, now


def _short(value: Any) -> str:
    shown = "none" if value is None else str(value)
    return shown if len(shown) <= _SHORT else shown[:_SHORT] + "…"


def plan_of(arguments: Sequence[str]) -> Plan:
    """What a run with these arguments of Snakemake would do.

    Raises:
        ArtifactError: Snakemake cannot plan it; with all that it said.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--cores", "all", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        raise ArtifactError(run.stdout)
    return read_plan(run.stdout)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; all that it does not know go to Snakemake."""
    parser.set_defaults(snakemake=[])
    parser.epilog = "Arguments are Snakemake's: --configfile STUDY.yaml chooses the study."


def run(arguments: argparse.Namespace) -> str | None:
    """Print the plan; what Snakemake said, where it cannot plan."""
    try:
        print(explain(plan_of(arguments.snakemake)))
    except ArtifactError as error:
        return str(error)
    return None

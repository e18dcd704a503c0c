"""Commands about a study file: the folder of its results, its schema, what a run would do, how large it should be."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from alignment_limits.errors import ArtifactError, ConfigError
from alignment_limits.study.base import Name
from alignment_limits.study.load import read_study_file
from alignment_limits.study.study import Study

DEFAULT = "config/config.yaml"


def study_name(file: Path, default: Path = Path(DEFAULT)) -> str:
    """The name of a study file's study; the default study's name if the file has none.

    Raises:
        ConfigError: no such file, not YAML, or a name that is not lower-case letters, digits, `.`, `_` and `-`.
    """
    try:
        study = read_study_file(file).values
    except ConfigError as error:
        raise ConfigError(f"{error}; correct STUDY=") if not file.exists() else error from None
    if "study" not in study and file != default:
        return study_name(default)
    try:
        return TypeAdapter(Name).validate_python(study.get("study"), strict=True)
    except ValidationError:
        raise ConfigError(
            f"study file {str(file)!r}: study: {study.get('study')!r} is not a name; use lower-case letters, digits, "
            "'.', '_' and '-', beginning with a letter or digit"
        ) from None


def where_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = os.environ.get("STUDY") or DEFAULT
    parser.add_argument("study", type=Path, nargs="?", default=Path(default), help="the study file")
    parser.add_argument("--slurm", action="store_true", help="print the prefix of its Slurm jobs' names instead")


def run_where(arguments: argparse.Namespace) -> None:
    """`alignment-limits where [STUDY.yaml]`: the folder of a study's results.

    With `--slurm`, the prefix of its jobs' names. Without a file, the study file is that of the variable STUDY, or
    else the default study.

    The output is safe to pass to a shell: other names are refused.
    """
    name = study_name(arguments.study)
    if not arguments.slurm:
        print(f"results/{name}")
        return
    from alignment_limits.jobs.job import job_name_prefix  # imports polars, which the rest does not need

    print(job_name_prefix(name))


def schema_text() -> str:
    """The content of `config/schema.json`."""
    return json.dumps(Study.model_json_schema(), indent=1) + "\n"


def schema_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


def run_schema(arguments: argparse.Namespace) -> None:
    """`alignment-limits schema`: the study file's JSON schema, for completion in editors."""
    print(schema_text(), end="")


UNRECORDED = "unrecorded"  # the same as in jobs/records.py, which imports more than a plan needs
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.M)
_PARAMS = re.compile(r"Params have changed since last execution: Union.*?output: (.*)")
_SHORT = 60  # characters of a setting's value


@dataclass
class Plan:
    """A dry run: jobs per rule, and each rule's own reasons with their number of jobs."""

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
    """The plan as text."""
    if not plan.jobs:
        return "Nothing would run: all results exist and are up to date."
    lines = [f"{_jobs(plan.jobs.total())} would run."]
    for rule, reasons in plan.reasons.items():
        lines += [f"  {rule} ({_jobs(n)}): {reason}" for reason, n in reasons.items()]
    followers = [f"{rule} ({n})" for rule, n in plan.jobs.items() if rule not in plan.reasons]
    if followers:
        lines.append("  as a consequence: " + ", ".join(followers))
    return "\n".join(lines)


def _jobs(n: int) -> str:
    return "1 job" if n == 1 else f"{n} jobs"


def _reasons(text: str) -> Iterator[str]:
    """A job's own reasons. That another job computes an input again is not one."""
    if params := _PARAMS.search(text):
        yield from _changed(params[1])
        text = text[: params.start()]
    if "Missing output files" in text:
        yield "missing: new in this study, or deleted"
    if "Incomplete output files" in text:
        yield "unfinished: the run was killed"
    if found := re.search(r"(?:^|; )Updated input files: ([^;]*)", text):
        yield f"input changed: {found[1]}"
    if "Set of input files has changed" in text:
        yield "the list of input files changed"
    if "Code has changed" in text:
        yield "the script's text changed"
    if "Software environment" in text:
        yield "the software environment changed"
    if "Forced execution" in text:
        yield "requested on the command line"


def _changed(params: str) -> Iterator[str]:
    """Differences between the params before and now, each `{…},{…}`: the reprs of settings and of code."""
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
    """The plan of a run with these arguments of Snakemake.

    Raises:
        ArtifactError: Snakemake cannot plan it. The message is Snakemake's output.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--cores", "all", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        raise ArtifactError(run.stdout)
    return read_plan(run.stdout)


def why_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; all that it does not know go to Snakemake."""
    parser.set_defaults(snakemake=[])
    parser.epilog = "Arguments are Snakemake's: --configfile STUDY.yaml chooses the study."


def run_why(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits why [Snakemake's arguments]`: what would run again, and why.

    Does a dry run. Each rule is listed with what changed for it: a setting, a module of the library, a package or a
    file. Rules that run only as a consequence come last.
    """
    try:
        print(explain(plan_of(arguments.snakemake)))
    except ArtifactError as error:
        return str(error)
    return None


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; all that it does not know go to Snakemake."""
    parser.set_defaults(snakemake=[])
    parser.epilog = "Arguments are Snakemake's: --configfile STUDY.yaml chooses the study, --cores how many to use."


def run_plan(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits plan [Snakemake's arguments]`: how many prompts and samples a study needs.

    This study is the pilot. Runs the jobs that the plan needs, and prints the plan.
    """
    words = ["--logger", "brief", *arguments.snakemake]
    if not {"--cores", "-c", "--jobs", "-j", "--workflow-profile"} & {word.split("=")[0] for word in words}:
        words += ["--cores", "all"]
    command = [sys.executable, "-m", "snakemake", *words, "--forcerun", "plan", "--until", "plan", "plan"]
    return None if subprocess.run(command).returncode == 0 else "there is no plan: see the errors above"

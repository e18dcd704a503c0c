"""Beside Snakemake's Slurm plug-in: a guard against two runs at once, and remedies for jobs Slurm ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from alignment_limits.errors import AlignmentLimitsError


class SlurmError(AlignmentLimitsError):
    """A run through Slurm would do work twice, or never end."""


LOGS = Path(".snakemake/slurm_logs")  # where the plug-in puts Slurm's own logs
TOKENS_IN_FIVE_MINUTES = 4_500_000  # at 15,000 tokens a second: a small model on one GPU
_RUN = re.compile(r"(?:(?P<prefix>[A-Za-z0-9_-]+)_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDED = re.compile(r"SLURM-job '(\d+(?:_\d+)?)' failed.*?SLURM status is: '(\w+)'")
_MEMORY = re.compile("exceeded .*memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)
_REMEDIES = {
    "OUT_OF_MEMORY": "it needed more memory than it asked for: raise mem_mb of its rule in profiles/slurm/profile.yaml",
    "TIMEOUT": "it ran out of time: raise runtime of its rule in profiles/slurm/profile.yaml, or make shards smaller "
    "(sampling.shard_tokens)",
    "CANCELLED": "somebody cancelled it, or the site did (some do so for memory): run again, finished files are kept",
    "NODE_FAIL": "its node failed: run again, finished files are kept",
    "FAILED": "read its last lines above; if there are none it was killed, mostly for memory: raise mem_mb of its rule",
}


def prefix(study: str) -> str:
    """A study's name as the plug-in allows it in job names: --slurm-jobname-prefix."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", study)[:50]


def earlier_jobs(listing: str, folder: str | os.PathLike[str], study: str) -> list[str]:
    """Job ids of Snakemake runs of a study from a folder, in the output of `squeue -o '%F|%j|%Z'`.

    A job without a prefix could be of any study, so it counts; one with another study's does not.
    """
    here = os.path.realpath(folder)
    found = set()
    for line in listing.splitlines():
        number, name, where = line.split("|", 2)
        run = _RUN.fullmatch(name)
        if run and os.path.realpath(where) == here and run["prefix"] in (None, prefix(study)):
            found.add(int(number))
    return [str(number) for number in sorted(found)]


def refuse_beside_earlier_jobs(folder: str | os.PathLike[str], study: str) -> None:
    """Stop a run that would submit again what jobs of an earlier run still compute.

    Raises:
        SlurmError: this user's jobs of the study, submitted from this folder, are queued or running.
    """
    listing = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%F|%j|%Z"], capture_output=True, text=True, check=False
    )
    if listing.returncode:
        raise SlurmError(f"squeue does not answer, so earlier jobs cannot be seen: {listing.stderr.strip()}")
    if jobs := earlier_jobs(listing.stdout, folder, study):
        raise SlurmError(
            f"Slurm jobs {' '.join(jobs)} of an earlier run of this study are still queued or running, and this run "
            "would submit their work again. Let them end (squeue --me) and run again, what they finish is kept; or "
            f"cancel them: scancel {' '.join(jobs)}"
        )


def refuse_limited_arrays(arrays: str | None, jobs: int | None, resources: Iterable[str]) -> None:
    """Stop a run that would never end.

    Plug-in 2.8.0 drops ready jobs of an array rule while a limit keeps others of the rule waiting.

    Raises:
        SlurmError: arrays are on and jobs, or resources that they ask for, are limited.
    """
    limits = [f"--jobs {jobs}"] if jobs is not None and jobs < sys.maxsize else []
    limits += [f"--resources {name}=…" for name in resources]
    if arrays and limits:
        raise SlurmError(
            f"with array jobs (slurm-array-jobs: {arrays}) a limit ({', '.join(limits)}) would make the Slurm plug-in "
            "wait for ever. Leave limits to Slurm, or turn arrays off: --slurm-array-jobs ''"
        )


def small_shards(tasks: int, tokens: int, enough: int = TOKENS_IN_FIVE_MINUTES) -> str:
    """What to do about tasks of at most `tokens` new tokens that end sooner than five minutes; '' if they do not."""
    if tasks < 2 or tokens >= enough:
        return ""
    return (
        f"{tasks} sampling tasks of at most {tokens:,} tokens: on a GPU they would start for longer than they work. "
        f"With sampling.shard_tokens at {enough:,} or more a task takes minutes (docs/slurm.md); no sample changes"
    )


def explain(log: str, logs: Path = LOGS, lines: int = 15) -> str:
    """Last lines and remedy of each job that failed, from Snakemake's log; the last five failures.

    The plug-in looks for the logs of array tasks where they are not, so Snakemake does not show them.
    """
    parts = []
    for job, status in list(dict.fromkeys(_ENDED.findall(log)))[-5:]:
        parts.append(f"\nSlurm job {job}: {status}")
        for file in sorted(logs.rglob(f"{job}.log")):
            tail = file.read_text("utf-8", "replace").splitlines()[-lines:]
            parts += [f"  last lines of {file}:", *(f"  | {line[:200]}" for line in tail)]
            if _MEMORY.search("\n".join(tail)):
                status = "OUT_OF_MEMORY"  # some sites say FAILED or CANCELLED
        parts.append(f"  remedy: {_REMEDIES.get(status, 'read its last lines above, and run again')}")
    return "\n".join(parts)

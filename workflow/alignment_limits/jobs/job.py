"""What all scripts of the workflow share: logs, errors without a traceback, provenance, progress.

For Slurm, in addition to Snakemake's plug-in: a guard against two runs at once, and remedies for jobs that Slurm ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from alignment_limits.errors import AlignmentLimitsError, ArtifactError
from alignment_limits.files import TABLES, digest
from alignment_limits.jobs.records import made_by, write_records
from alignment_limits.tables.artifacts import versions


def intervals() -> dict[str, float]:
    """Seconds between updates of a progress bar: fewer on a terminal than in a file."""
    seconds = 0.5 if sys.stderr.isatty() else 30
    return {"mininterval": seconds, "maxinterval": seconds}


def progress_bar(total: int, unit: str, label: str) -> Any:
    """A progress bar that appears after ten seconds. Close it, or use it as a context."""
    return tqdm(total=total, unit=unit, desc=label, delay=10, **intervals())


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's work. Stderr also goes to the rule's log; an error of the user is one message and exit code 1.

    The last line of the log has the job's seconds, for the timeline. If Snakemake is killed, the job stops, too.
    """
    path = Path(str(snakemake.log[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # removes unfinished files
    threading.Thread(target=_stop_with, args=[_parents()], daemon=True).start()
    with path.open("w", encoding="utf-8") as log, contextlib.redirect_stderr(_Tee(sys.stderr, log)):
        try:
            _wait_for_the_clock(snakemake.input)
            yield
            write_records(snakemake, made_by(snakemake))
        except AlignmentLimitsError as error:
            if (cause := _cause(error)) is not None:
                traceback.print_exception(cause, file=log)  # from a user's function or a library
            _give_up(snakemake.rule, str(error))
        except MemoryError:
            traceback.print_exc(file=log)
            _give_up(
                snakemake.rule,
                "out of memory; run again with fewer jobs at once (--cores 1) or smaller shards "
                "(sampling.shard_tokens); finished files are kept",
            )
        except Exception as error:
            traceback.print_exc(file=log)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                _give_up(snakemake.rule, "no space left on the disk; free some and run again (finished files are kept)")
            raise
        seconds = time.perf_counter() - start
        print(f"{seconds:.3f} s, of which {TABLES.seconds:.3f} s reading and writing tables", file=log)


def _cause(error: BaseException) -> BaseException | None:
    """The exception of a user's function or a library that caused an error of ours, or None."""
    while isinstance(error, AlignmentLimitsError) and error.__cause__ is not None:
        error = error.__cause__
    return None if isinstance(error, AlignmentLimitsError) else error


def _wait_for_the_clock(inputs: Iterable[str], patience: float = 10.0) -> None:
    """Wait until no input has a time in the future: Snakemake discards an output that is older than its input.

    Raises:
        ArtifactError: the clock is behind by more than `patience` seconds.
    """
    for file in filter(os.path.exists, inputs):  # the reader of a missing file reports it
        ahead = Path(file).stat().st_mtime - time.time()
        if ahead > patience:
            raise ArtifactError(
                f"{file} has a time in the future: the clock was set back. Run "
                '`find results -newermt now -exec touch -hd "$(date)" {} +`, then run the study again'
            )
        time.sleep(max(0.0, ahead))


def _give_up(rule: str, message: str) -> None:
    print(f"\nerror in {rule}: {message}\n", file=sys.stderr, flush=True)
    sys.exit(1)


def _parents() -> list[tuple[int, int]]:
    """Pairs (process, parent) from this process up to Snakemake; empty outside Linux."""
    out: list[tuple[int, int]] = []
    process = os.getpid()
    with contextlib.suppress(OSError):
        while process > 1 and len(out) < 3:
            parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
            out.append((process, parent))
            command = Path(f"/proc/{parent}/cmdline").read_text().split("\0")
            if any(Path(word).name == "snakemake" for word in command[:3]):  # called directly or by python -m
                return out
            process = parent
    return []


def _stop_with(parents: list[tuple[int, int]], every: float = 1.0) -> None:
    """Interrupt this process when a parent is gone: nothing would use its output, and the next run computes it."""
    while parents and _parents() == parents:
        time.sleep(every)
    if parents:
        os.kill(os.getpid(), signal.SIGINT)  # unfinished files are removed before the exit
        time.sleep(10 * every)
        os._exit(1)


class _Tee:
    """Writes to the terminal and to a log, without a progress bar's redraws in the log."""

    def __init__(self, terminal: TextIO, log: TextIO) -> None:
        self._terminal, self.log = terminal, log

    def write(self, text: str) -> int:
        if "\r" not in text:
            self.log.write(text)
        return self._terminal.write(text)

    def flush(self) -> None:
        self.log.flush()
        self._terminal.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)


def placed(snakemake: Any, path: str) -> Path:
    """The actual path of a file: below the prefix, if another workflow uses this one as a module."""
    study = snakemake.config["study"]
    return Path(str(snakemake.log[0]).rpartition(f"results/{study}/logs/")[0], path)


def say(message: str) -> None:
    """Print a line for the user."""
    print(message, file=sys.stderr, flush=True)


def device_report(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a job computes on: names, memory and driver of the GPUs that it took (`jobs.leases`), or the CPU.

    Example:
        >>> device_report({})["device"]
        'cpu'
    """
    if not (names := environment.get("CUDA_VISIBLE_DEVICES", "")):
        return {"device": environment.get("HIP_VISIBLE_DEVICES") or "cpu", "architecture": platform.machine()}
    command = ["nvidia-smi", f"--id={names}", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=dict(environment))
    except (OSError, subprocess.SubprocessError):  # parts of a GPU (MIG) have no entry of their own
        return {"device": names}
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return {
        "device": ", ".join(row[0] for row in rows),
        "memory": ", ".join(row[1] for row in rows),
        "driver": rows[0][-1] if rows else "",
    }


def provenance(snakemake: Any, packages: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """The provenance of an artifact: study, stage, settings and their digest, code fingerprint, versions, device."""
    settings = dict(snakemake.params.p)
    return {
        "study": snakemake.config["study"],
        "stage": snakemake.rule,
        "config": settings,
        "config_digest": digest(settings),
        "code": digest(dict(snakemake.params.code)),
        "seed": snakemake.config.get("seed", 0),
        "versions": versions(["alignment-limits", "polars", "numpy", *packages]),
        "record": made_by(snakemake),
        **({"machine": device_report()} if "torch" in packages else {}),
        **more,
    }


class SlurmError(AlignmentLimitsError):
    """A run through Slurm would do work twice, or never end."""


SLURM_LOGS = Path(".snakemake/slurm_logs")  # folder of the plug-in for Slurm's logs
TOKENS_IN_FIVE_MINUTES = 4_500_000  # at 15,000 tokens a second: a small model on one GPU
_RUN_NAME = re.compile(r"(?:(?P<prefix>[A-Za-z0-9_-]+)_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDED_JOB = re.compile(r"SLURM-job '(\d+(?:_\d+)?)' failed.*?SLURM status is: '(\w+)'")
_OUT_OF_MEMORY = re.compile("exceeded .*memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)
_REMEDIES = {
    "OUT_OF_MEMORY": "it needed more memory than it requested: raise mem_mb of its rule in profiles/slurm/profile.yaml",
    "TIMEOUT": "it ran out of time: raise runtime of its rule in profiles/slurm/profile.yaml, or make shards smaller "
    "(sampling.shard_tokens)",
    "CANCELLED": "a user or the site cancelled it (some sites do so for memory): run again (finished files are kept)",
    "NODE_FAIL": "its node failed: run again (finished files are kept)",
    "FAILED": "read its last lines above; without any it was killed, mostly for memory: raise mem_mb of its rule",
}


def job_name_prefix(study: str) -> str:
    """A study's name with the characters allowed in job names, for --slurm-jobname-prefix."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", study)[:50]


def earlier_jobs(listing: str, folder: str | os.PathLike[str], study: str) -> list[str]:
    """Job ids of Snakemake runs of a study from a folder, in the output of `squeue -o '%F|%j|%Z'`.

    A job without a prefix counts, as it may be of any study. A job with another study's prefix does not.
    """
    here = os.path.realpath(folder)
    found = set()
    for line in listing.splitlines():
        number, name, where = line.split("|", 2)
        run = _RUN_NAME.fullmatch(name)
        if run and os.path.realpath(where) == here and run["prefix"] in (None, job_name_prefix(study)):
            found.add(int(number))
    return [str(number) for number in sorted(found)]


def refuse_beside_earlier_jobs(folder: str | os.PathLike[str], study: str) -> None:
    """Stop a run that would submit jobs again that an earlier run still computes.

    Raises:
        SlurmError: this user's jobs of the study, submitted from this folder, are queued or running.
    """
    listing = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%F|%j|%Z"], capture_output=True, text=True, check=False
    )
    if listing.returncode:
        raise SlurmError(f"squeue failed, so jobs of earlier runs cannot be listed: {listing.stderr.strip()}")
    if jobs := earlier_jobs(listing.stdout, folder, study):
        raise SlurmError(
            f"Slurm jobs {' '.join(jobs)} of an earlier run of this study are still queued or running, and this run "
            "would submit them again. Wait until they end (squeue --me) and run again (finished files are kept), or "
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
            f"with array jobs (slurm-array-jobs: {arrays}) a limit ({', '.join(limits)}) makes the Slurm plug-in wait "
            "for ever. Remove the limit, or turn array jobs off: --slurm-array-jobs ''"
        )


def small_shards(tasks: int, tokens: int, enough: int = TOKENS_IN_FIVE_MINUTES) -> str:
    """Advice if tasks of at most `tokens` new tokens take less than five minutes, else ''."""
    if tasks < 2 or tokens >= enough:
        return ""
    return (
        f"{tasks} sampling tasks have at most {tokens:,} tokens each: on a GPU, the start takes longer than the work. "
        f"Set sampling.shard_tokens to {enough:,} or more (docs/clusters.md). The samples stay the same"
    )


def explain_ended(log: str, logs: Path = SLURM_LOGS, lines: int = 15) -> str:
    """Last lines and remedy of the last five jobs that failed, from Snakemake's log.

    The plug-in looks for the logs of array tasks in the wrong place, so Snakemake does not show them.
    """
    parts = []
    for number, status in list(dict.fromkeys(_ENDED_JOB.findall(log)))[-5:]:
        parts.append(f"\nSlurm job {number}: {status}")
        for file in sorted(logs.rglob(f"{number}.log")):
            tail = file.read_text("utf-8", "replace").splitlines()[-lines:]
            parts += [f"  last lines of {file}:", *(f"  | {line[:200]}" for line in tail)]
            if _OUT_OF_MEMORY.search("\n".join(tail)):
                status = "OUT_OF_MEMORY"  # some sites report FAILED or CANCELLED
        parts.append(f"  remedy: {_REMEDIES.get(status, 'read its last lines above, and run again')}")
    return "\n".join(parts)

"""What every script of the workflow shares: its log, its users' errors without a traceback, provenance, progress.

And what runs through Slurm need besides Snakemake's plug-in: a guard against two runs at once, and remedies for jobs
that Slurm ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from alignment_limits.errors import AlignmentLimitsError, ArtifactError
from alignment_limits.files import TABLES, digest
from alignment_limits.jobs.records import made_by, write_records
from alignment_limits.tables.artifacts import versions


def intervals() -> dict[str, float]:
    """How often a bar of tqdm's is drawn, for where standard error goes."""
    seconds = 0.5 if sys.stderr.isatty() else 30
    return {"mininterval": seconds, "maxinterval": seconds}


def progress_bar(total: int, unit: str, label: str) -> Any:
    """A bar of tqdm's that shows after ten seconds; to be closed, or used as a context."""
    return tqdm(total=total, unit=unit, desc=label, delay=10, **intervals())


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's work: stderr also goes to the rule's log; a user's error is one message, exit 1.

    The log ends with its seconds, for the timeline. A job whose Snakemake was killed stops as well.
    """
    path = Path(str(snakemake.log[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what is half written is removed
    threading.Thread(target=_stop_with, args=[_parents()], daemon=True).start()
    with path.open("w", encoding="utf-8") as log, contextlib.redirect_stderr(_Tee(sys.stderr, log)):
        try:
            _wait_for_the_clock(snakemake.input)
            yield
            write_records(snakemake, made_by(snakemake))
        except AlignmentLimitsError as error:
            if (cause := _cause(error)) is not None:
                traceback.print_exception(cause, file=log)  # a user's own function, or a library's
            _give_up(snakemake.rule, str(error))
        except MemoryError:
            traceback.print_exc(file=log)
            _give_up(
                snakemake.rule,
                "out of memory; run again with fewer at once (--cores 1) or smaller shards (sampling.shard_tokens), "
                "finished files are kept",
            )
        except Exception as error:
            traceback.print_exc(file=log)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                _give_up(snakemake.rule, "no space left on the disk; free some and run again, finished files are kept")
            raise
        seconds = time.perf_counter() - start
        print(f"{seconds:.3f} s, of which {TABLES.seconds:.3f} s reading and writing tables", file=log)


def _cause(error: BaseException) -> BaseException | None:
    """What lies beneath an error of ours: the exception of a user's function or of a library; None: nothing."""
    while isinstance(error, AlignmentLimitsError) and error.__cause__ is not None:
        error = error.__cause__
    return None if isinstance(error, AlignmentLimitsError) else error


def _wait_for_the_clock(inputs: Iterable[str], patience: float = 10.0) -> None:
    """Wait until no input is from the future: Snakemake would discard an output older than its input.

    Raises:
        ArtifactError: the clock is behind by more than `patience` seconds.
    """
    for file in filter(os.path.exists, inputs):  # a missing one is its reader's to name
        ahead = Path(file).stat().st_mtime - time.time()
        if ahead > patience:
            raise ArtifactError(
                f"{file} is from the future: the clock was set back since; run "
                '`find results -newermt now -exec touch -hd "$(date)" {} +` and again'
            )
        time.sleep(max(0.0, ahead))


def _give_up(rule: str, message: str) -> None:
    print(f"\nerror in {rule}: {message}\n", file=sys.stderr, flush=True)
    sys.exit(1)


def _parents() -> list[tuple[int, int]]:
    """This process and the shells above it up to Snakemake: the process and its parent; none outside Linux."""
    out: list[tuple[int, int]] = []
    process = os.getpid()
    with contextlib.suppress(OSError):
        while process > 1 and len(out) < 3:
            parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
            out.append((process, parent))
            command = Path(f"/proc/{parent}/cmdline").read_text().split("\0")
            if any(Path(word).name == "snakemake" for word in command[:3]):  # it, or python -m it
                return out
            process = parent
    return []


def _stop_with(parents: list[tuple[int, int]], every: float = 1.0) -> None:
    """Interrupt this process once one above it is gone: nobody would take what it makes, and the next run makes it."""
    while parents and _parents() == parents:
        time.sleep(every)
    if parents:
        os.kill(os.getpid(), signal.SIGINT)  # files half written are removed on the way out
        time.sleep(10 * every)
        os._exit(1)


class _Tee:
    """Writes to the terminal and to a log; a progress bar's redraws stay out of the log."""

    def __init__(self, terminal: TextIO, log: TextIO) -> None:
        self._terminal, self._log = terminal, log

    def write(self, text: str) -> int:
        if "\r" not in text:
            self._log.write(text)
        return self._terminal.write(text)

    def flush(self) -> None:
        self._log.flush()
        self._terminal.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)


def placed(snakemake: Any, path: str) -> Path:
    """A path of this workflow where it lies: below the prefix that another workflow may give it as its module."""
    study = snakemake.config["study"]
    return Path(str(snakemake.log[0]).rpartition(f"results/{study}/logs/")[0], path)


def say(message: str) -> None:
    """One line for the person watching."""
    print(message, file=sys.stderr, flush=True)


def provenance(snakemake: Any, packages: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """What made an artifact: study, stage, settings and their digest, code fingerprint, versions."""
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
        **more,
    }


class SlurmError(AlignmentLimitsError):
    """A run through Slurm would do work twice, or never end."""


SLURM_LOGS = Path(".snakemake/slurm_logs")  # where the plug-in puts Slurm's own logs
TOKENS_IN_FIVE_MINUTES = 4_500_000  # at 15,000 tokens a second: a small model on one GPU
_RUN_NAME = re.compile(r"(?:(?P<prefix>[A-Za-z0-9_-]+)_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDED_JOB = re.compile(r"SLURM-job '(\d+(?:_\d+)?)' failed.*?SLURM status is: '(\w+)'")
_OUT_OF_MEMORY = re.compile("exceeded .*memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)
_REMEDIES = {
    "OUT_OF_MEMORY": "it needed more memory than it asked for: raise mem_mb of its rule in profiles/slurm/profile.yaml",
    "TIMEOUT": "it ran out of time: raise runtime of its rule in profiles/slurm/profile.yaml, or make shards smaller "
    "(sampling.shard_tokens)",
    "CANCELLED": "somebody cancelled it, or the site did (some do so for memory): run again, finished files are kept",
    "NODE_FAIL": "its node failed: run again, finished files are kept",
    "FAILED": "read its last lines above; if there are none it was killed, mostly for memory: raise mem_mb of its rule",
}


def job_name_prefix(study: str) -> str:
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
        run = _RUN_NAME.fullmatch(name)
        if run and os.path.realpath(where) == here and run["prefix"] in (None, job_name_prefix(study)):
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
        f"With sampling.shard_tokens at {enough:,} or more a task takes minutes (docs/clusters.md); no sample changes"
    )


def explain_ended(log: str, logs: Path = SLURM_LOGS, lines: int = 15) -> str:
    """Last lines and remedy of each job that failed, from Snakemake's log; the last five failures.

    The plug-in looks for the logs of array tasks where they are not, so Snakemake does not show them.
    """
    parts = []
    for number, status in list(dict.fromkeys(_ENDED_JOB.findall(log)))[-5:]:
        parts.append(f"\nSlurm job {number}: {status}")
        for file in sorted(logs.rglob(f"{number}.log")):
            tail = file.read_text("utf-8", "replace").splitlines()[-lines:]
            parts += [f"  last lines of {file}:", *(f"  | {line[:200]}" for line in tail)]
            if _OUT_OF_MEMORY.search("\n".join(tail)):
                status = "OUT_OF_MEMORY"  # some sites say FAILED or CANCELLED
        parts.append(f"  remedy: {_REMEDIES.get(status, 'read its last lines above, and run again')}")
    return "\n".join(parts)

"""`python -m alignment_limits.timeline results/<study>`: when each job ran, and what the workflow itself cost.

From Snakemake's benchmark files and the logs beside them: a job ended when its benchmark was written and
took the seconds it states. Jobs of rules that may be cached between workflows have no benchmark; theirs are
in the log. What tables cost is in every log. Waits between runs are cut out.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from alignment_limits.errors import ArtifactError

PAUSE = 30.0  # seconds without any job that end a run
_LAST_LINE = re.compile(r"^([\d.]+) s, of which ([\d.]+) s reading and writing tables\Z", re.M)


@dataclass(frozen=True)
class Job:
    """One job: seconds since the epoch, and seconds it spent reading and writing tables."""

    rule: str
    start: float
    end: float
    tables: float


@dataclass(frozen=True)
class Overhead:
    """Of the wall time, in seconds: what no job ran in, and what tables cost (as if jobs ran one by one)."""

    wall: float
    idle: float
    tables: float

    @property
    def share(self) -> float:
        return (self.idle + self.tables) / self.wall


def read_jobs(study: Path) -> list[Job]:
    """Jobs of the study, and of the models it uses if they ran meanwhile, by their start.

    Raises:
        ArtifactError: no job has run.
    """
    jobs = [job for log in (study / "logs").rglob("*.log") if (job := _job(log, study))]
    if not jobs:
        raise ArtifactError(f"{study} has no logs of finished jobs: run the study first, `make study`")
    first, last = min(j.start for j in jobs), max(j.end for j in jobs)
    models = study.parent / "models"
    more = [job for log in (models / "logs").rglob("*.log") if (job := _job(log, models))]
    jobs += [job for job in more if first - PAUSE < job.end < last]
    return sorted(jobs, key=lambda job: job.start)


def _job(log: Path, folder: Path) -> Job | None:
    """A job that has finished."""
    said = _LAST_LINE.search(log.read_text("utf-8").rstrip())
    if said is None:
        return None
    relative = log.relative_to(folder / "logs")
    benchmark = (folder / "benchmarks" / relative).with_suffix(".tsv")
    seconds, end = float(said[1]), log.stat().st_mtime
    if benchmark.is_file():
        header, values = (line.split("\t") for line in benchmark.read_text("utf-8").splitlines()[:2])
        seconds, end = float(dict(zip(header, values, strict=True))["s"]), benchmark.stat().st_mtime
    return Job(relative.parts[0], end - seconds, end, float(said[2]))


def without_pauses(jobs: list[Job], pause: float = PAUSE) -> list[Job]:
    """The jobs in time since the first started, waits between runs (longer than `pause`) left out."""
    out, cut, end = [], jobs[0].start, jobs[0].start
    for job in jobs:
        if job.start - end > pause:
            cut += job.start - end
        end = max(end, job.end)
        out.append(Job(job.rule, job.start - cut, job.end - cut, job.tables))
    return out


def overhead(jobs: list[Job]) -> Overhead:
    """What the workflow itself cost, of jobs by their start."""
    idle, end = 0.0, jobs[0].start
    for job in jobs:
        idle += max(0.0, job.start - end)
        end = max(end, job.end)
    return Overhead(end - jobs[0].start, idle, sum(job.tables for job in jobs))


def main(study: Path) -> str | None:
    """Draw the timeline and print the overhead; a message if there is nothing to draw."""
    from alignment_limits.figures.style import Look, save
    from alignment_limits.figures.timeline import timeline

    try:
        jobs = without_pauses(read_jobs(study))
    except ArtifactError as error:
        return str(error)
    cost = overhead(jobs)
    print(
        f"{len(jobs)} jobs in {cost.wall:.0f} s: in {cost.idle:.1f} s none ran, and tables took {cost.tables:.1f} s: "
        f"{cost.share:.1%} of the time"
    )
    look, figure = Look(width=6.8), study / "timeline"
    save(timeline(jobs, look), look, figure.with_suffix(".pdf"), figure.with_suffix(".png"))
    print(f"drawn: {figure}.png")
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

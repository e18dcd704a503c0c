"""Commands that draw finished studies: a timeline of the jobs, and several studies in one figure."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.ticker
from matplotlib.figure import Figure

from alignment_limits.errors import AlignmentLimitsError, ArtifactError
from alignment_limits.files import refuse_to_overwrite
from alignment_limits.report.figures.methods import Panel, panels
from alignment_limits.report.figures.style import BEST_OF_N, GREY, PER_PROMPT, Look, is_own_figure, save
from alignment_limits.tables import estimates as contracts
from alignment_limits.tables.artifacts import read_provenance, read_table

PAUSE = 30.0  # seconds without any job after which a run counts as ended
_LAST_LINE = re.compile(r"^([\d.]+) s, of which ([\d.]+) s reading and writing tables\Z", re.M)


@dataclass(frozen=True)
class Job:
    """One job: start and end in seconds since the epoch, and seconds spent on reading and writing tables."""

    rule: str
    start: float
    end: float
    tables: float


@dataclass(frozen=True)
class Overhead:
    """Wall time, time without any job, and time spent on tables (as if jobs ran one by one), in seconds."""

    wall: float
    idle: float
    tables: float

    @property
    def share(self) -> float:
        return (self.idle + self.tables) / self.wall


def read_jobs(study: Path) -> list[Job]:
    """Jobs of the study, and of its models if they ran at the same time, ordered by start.

    Raises:
        ArtifactError: no job has run.
    """
    jobs = [job for log in (study / "logs").rglob("*.log") if (job := _job(log, study))]
    if not jobs:
        raise ArtifactError(f"{study} has no logs of finished jobs; run the study first: `make study`")
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
    """The jobs, with pauses between runs (longer than `pause`) cut out of their times."""
    out, cut, end = [], jobs[0].start, jobs[0].start
    for job in jobs:
        if job.start - end > pause:
            cut += job.start - end
        end = max(end, job.end)
        out.append(Job(job.rule, job.start - cut, job.end - cut, job.tables))
    return out


def overhead(jobs: list[Job]) -> Overhead:
    """The overhead of the workflow, from jobs ordered by start."""
    idle, end = 0.0, jobs[0].start
    for job in jobs:
        idle += max(0.0, job.start - end)
        end = max(end, job.end)
    return Overhead(end - jobs[0].start, idle, sum(job.tables for job in jobs))


_COLOURS = {"sample": PER_PROMPT, "score": BEST_OF_N}


def timeline(jobs: Sequence[Job], look: Look) -> Figure:
    """A row per rule, ordered by start, and a bar per job. Jobs of a rule that overlap are below each other.

    Args:
        jobs: ordered by start, with times in seconds since the first began.
    """
    rows: dict[str, list[Job]] = {}
    for job in jobs:
        rows.setdefault(job.rule, []).append(job)
    wall = max(job.end for job in jobs)
    with look.applied():
        figure = look.figure(height=0.5 + 0.16 * len(rows))
        axes = figure.subplots()
        for y, (rule, own) in enumerate(rows.items()):
            for lane, job, lanes in _lanes(own):
                height = 0.8 / lanes
                axes.barh(
                    y - 0.4 + (lane + 0.5) * height,
                    max(job.end - job.start, wall / 1000),
                    left=job.start,
                    height=0.85 * height,
                    color=_COLOURS.get(rule, GREY),
                    linewidth=0,
                )
        names = [f"{rule} ({len(own)})" if len(own) > 1 else rule for rule, own in rows.items()]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, wall)
        if wall > 600:
            axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x / 60:g}"))
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(8, steps=[1, 1.2, 3, 6]))
        axes.set_xlabel("minutes" if wall > 600 else "seconds since the first job began")
    return figure


def _lanes(jobs: Sequence[Job]) -> list[tuple[int, Job, int]]:
    """A lane for each job, so that jobs in a lane do not overlap, and the number of lanes."""
    ends: list[float] = []
    placed = []
    for job in jobs:
        lane = next((i for i, end in enumerate(ends) if end <= job.start), len(ends))
        ends[lane : lane + 1] = [job.end]
        placed.append((lane, job))
    return [(lane, job, len(ends)) for lane, job in placed]


def timeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("study", type=Path, help="the study's folder of results")


def run_timeline(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits timeline results/<study>`: when each job ran, and the overhead of the workflow.

    Times come from Snakemake's benchmark files: a job ended when its benchmark file was written, and took the
    seconds in it. Rules that Snakemake may cache between workflows have no benchmark file; their times come from
    their logs. Every log also has the seconds spent on tables. Pauses between runs are cut out."""
    try:
        jobs = without_pauses(read_jobs(arguments.study))
    except ArtifactError as error:
        return str(error)
    cost = overhead(jobs)
    print(
        f"{len(jobs)} jobs in {cost.wall:.0f} s. Overhead: {cost.idle:.1f} s without a job and {cost.tables:.1f} s "
        f"for tables, {cost.share:.1%} of the time"
    )
    look, figure = Look(width=6.8), arguments.study / "timeline"
    save(timeline(jobs, look), look, figure.with_suffix(".pdf"), figure.with_suffix(".png"))
    print(f"drawn: {figure}.png")
    return None


def read_panel(study: Path) -> Panel:
    """The data for a panel, from a finished study's folder.

    Raises:
        ArtifactError: a table is missing or damaged.
    """
    tables = {name: study / f"limits/{name}.parquet" for name in ("frontier", "best_of_n")}
    made = read_provenance(tables["best_of_n"])
    gold, rewards = made["config"]["gold"], made["config"]["relatives_of"]
    frontier, best_of_n = (
        read_table(tables["frontier"], contracts.FRONTIER),
        read_table(tables["best_of_n"], contracts.BEST_OF_N),
    )
    return Panel(f"{made['study']}: {gold}", frontier, best_of_n, gold, tuple(r for r in rewards if r != gold))


def panels_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("studies", type=Path, nargs="+", metavar="RESULTS", help="folders of finished studies")
    parser.add_argument("out", type=Path, metavar="OUT", help="the path of the figure, without its suffix")


def run_panels(arguments: argparse.Namespace) -> str | None:
    """`alignment-limits panels RESULTS… OUT`: finished studies side by side as OUT.pdf and OUT.png.

    The main figure was drawn by `alignment-limits panels results/safety results/summarisation main`.
    """
    look = Look(width=6.8)
    files = [arguments.out.with_suffix(suffix) for suffix in (".pdf", ".png")]
    try:
        for file in files:
            refuse_to_overwrite(file, [], unless=is_own_figure)
        figure = panels([read_panel(study) for study in arguments.studies], look)
    except AlignmentLimitsError as error:
        return str(error)
    save(figure, look, *files)
    print(f"drawn: {files[1]}")
    return None

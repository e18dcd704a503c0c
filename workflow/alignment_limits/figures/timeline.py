"""The timeline of a study: which jobs ran when."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.ticker
from matplotlib.figure import Figure

from alignment_limits.figures.style import BEST_OF_N, GREY, PER_PROMPT, Look
from alignment_limits.timeline import Job

_COLOURS = {"sample": PER_PROMPT, "score": BEST_OF_N}


def timeline(jobs: Sequence[Job], look: Look) -> Figure:
    """A row per rule, in the order they began; a bar per job, those of one rule that overlap below each other.

    Args:
        jobs: by their start; their times in seconds since the first began.
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
    """Each job with a lane of its own among those it overlaps, and how many lanes there are."""
    ends: list[float] = []
    placed = []
    for job in jobs:
        lane = next((i for i, end in enumerate(ends) if end <= job.start), len(ends))
        ends[lane : lane + 1] = [job.end]
        placed.append((lane, job))
    return [(lane, job, len(ends)) for lane, job in placed]

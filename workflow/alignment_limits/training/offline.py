"""Objectives that learn from the base's samples draw replies only to be watched."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from alignment_limits.training.progress import Progress
from alignment_limits.training.replies import draw
from alignment_limits.training.task import Task


class Watching(TrainerCallback):
    """Before each step, draws as many replies as it trains on, and adds them to the curves.

    Args:
        always: False: only before steps whose KL is due, too; drawing can cost more than the step itself.
    """

    def __init__(self, task: Task, progress: Progress, padding: int, always: bool = True) -> None:
        self._task, self._progress, self._padding, self._always = task, progress, padding, always

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        """See `TrainerCallback`."""
        task = self._task
        self._progress.seed()
        if not self._always and not self._progress.due(len(self._progress.rows)):
            self._progress.unseen()
            return
        row = task.rows[len(self._progress.rows)].tolist()
        replies = draw(model, [task.sent[i] for i in row], task.law, task.longest, task.stop, self._padding)
        self._progress.measure(row, replies)

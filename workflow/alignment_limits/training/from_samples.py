"""Training data made of the base's samples: preferred pairs, and best-of-n picks."""

from __future__ import annotations

from typing import Any

import numpy as np

from alignment_limits.training.task import Task


def pairs(task: Task) -> list[dict[str, Any]]:
    """All the run's pairs, steps × batch of them: two different samples of a prompt each, the preferred one named."""
    rng = np.random.default_rng([task.settings["seed"], 2])
    out = []
    for row in task.rows.ravel().tolist():
        first, second = rng.choice(len(task.samples[row]), 2, replace=False).tolist()
        margin = task.reward.base[row, first] - task.reward.base[row, second]
        if rng.random() > 1 / (1 + np.exp(-margin)):
            first, second = second, first
        reply = {"chosen_ids": list(task.samples[row][first]), "rejected_ids": list(task.samples[row][second])}
        out.append({"prompt_ids": list(task.sent[row])} | reply)
    return out


def picks(task: Task) -> list[dict[str, Any]]:
    """All the run's replies, steps × batch of them; only their own tokens count in the loss."""
    rng = np.random.default_rng([task.settings["seed"], 2])
    n = int(task.settings["coefficient"])
    out = []
    for row in task.rows.ravel().tolist():
        drawn = rng.choice(len(task.samples[row]), n, replace=False)
        best = list(task.samples[row][int(drawn[np.argmax(task.reward.base[row, drawn])])])
        sent = list(task.sent[row])
        out.append({"input_ids": sent + best, "labels": [-100] * len(sent) + best})
    return out

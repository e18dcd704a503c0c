"""What all of TRL's trainers are told alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from alignment_limits.training.task import Task


def common(task: Task) -> dict[str, Any]:
    """What a run's own configuration, of any objective, starts from."""
    return plain(
        task.scratch, learning_rate=task.settings["learning_rate"], batch=task.batch, seed=task.settings["seed"]
    )


def plain(scratch: Path, *, learning_rate: float, batch: int, seed: int) -> dict[str, Any]:
    """Keyword arguments of any of TRL's configurations: AdamW at a constant rate, nothing saved, nothing reported."""
    return {
        "output_dir": str(scratch),
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "bf16": False,  # the weights' own precision is the recipe's; no autocasting on top
        "use_cpu": not torch.cuda.is_available(),
        "seed": seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }

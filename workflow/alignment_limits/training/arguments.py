"""What all of TRL's trainers are given alike: arguments, and one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from alignment_limits.errors import TrainingError
from alignment_limits.scripting import say
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


def one_device(arguments: Any) -> Any:
    """Any of TRL's configurations, kept to one device.

    Where a process sees several GPUs, the Trainer would give each of them a batch: a step would be taken on several
    times the study's batch, and the results would depend on the machine.

    Args:
        arguments: a configuration of TRL; it is changed in place.

    Raises:
        TrainingError: it cannot be kept to one, or several processes train together.
    """
    processes = arguments.distributed_state.num_processes  # PPO's configuration has a `world_size` of its own
    if (seen := arguments.n_gpu) > 1:
        arguments._n_gpu = 1
        say(
            f"torch sees {seen} GPUs; this job trains on one of them ({arguments.device}), as a batch is the study's "
            "and not the machine's. Set CUDA_VISIBLE_DEVICES to choose another"
        )
    if arguments.n_gpu > 1 or processes > 1:
        raise TrainingError(
            f"training would use {arguments.n_gpu} GPUs in each of {processes} process(es), which "
            "multiplies the batch; give the job one GPU (CUDA_VISIBLE_DEVICES=0) and start it as one process"
        )
    return arguments

"""One training run from a `Task` to a folder with the policy and the rows of its curves."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, set_seed

from alignment_limits.models.ends import load_config
from alignment_limits.models.split_model import SplitModel
from alignment_limits.training.model import WithoutAdapter, load, lora, padding_tokenizer
from alignment_limits.training.progress import SECONDS_BETWEEN_CHECKPOINTS, Progress
from alignment_limits.training.task import Task, step_seed
from alignment_limits.training.trainers import trainer_of


def train(
    task: Task, folder: Path, checkpoint: Path, stamp: str, every: float = SECONDS_BETWEEN_CHECKPOINTS
) -> list[dict[str, float]]:
    """Train, and write the adapter, or the checkpoint with its tokenizer, to `folder`.

    Args:
        checkpoint: file to go on from, and to leave behind if killed. stamp: what it must carry.
        every: seconds between checkpoints.

    Returns:
        rows of the table `curves`, without labels.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # for debugging, and slow
    settings = task.settings
    if settings["objective"] == "exact":  # no batches, no TRL
        return trainer_of(settings)(task, folder)
    progress = Progress(task, checkpoint, stamp, every)
    set_seed(step_seed(settings["seed"], -1))  # the adapter's first weights
    model, reference = (
        load(task.base, settings["dtype"], list(task.stop), task.trust_remote_code) if needed else None
        for needed in (True, settings["lora"] is None)
    )
    if reference is not None:
        reference.requires_grad_(False)
    peft_config = lora(settings["lora"], model)
    tokenizer = padding_tokenizer(task.base, SplitModel(model).vocabulary, task.trust_remote_code)
    trainer = trainer_of(settings)(task, progress, model, reference, peft_config, tokenizer)
    policy = trainer.model.policy if settings["objective"] == "ppo" else trainer.model
    live = SplitModel(policy.get_base_model() if peft_config else policy)
    base = WithoutAdapter(policy) if peft_config else SplitModel(reference)
    progress.watch(live, base, trainer.model, trainer)
    trainer.remove_callback(PrinterCallback)
    gc.freeze()  # PPO collects garbage thrice a step, at 0.2 s each where all modules' objects are looked at
    trainer.train()
    if folder.exists():
        shutil.rmtree(folder)
    _save(policy, task, folder)
    checkpoint.unlink(missing_ok=True)
    return progress.rows


def _save(policy: Any, task: Task, folder: Path) -> None:
    """Only the adapter; or all weights with the base's configuration and tokenizer."""
    if task.settings["lora"] is None:
        policy.config.pad_token_id = load_config(task.base, task.trust_remote_code).pad_token_id
        task.tokenizer.save_pretrained(folder)
    policy.save_pretrained(folder)

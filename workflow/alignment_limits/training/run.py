"""One training run: from a study's files to what it learns from, to a folder with the policy and rows of curves."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import PrinterCallback, set_seed

from alignment_limits.errors import ArtifactError
from alignment_limits.jobs.job import say
from alignment_limits.models.split_model import SplitModel
from alignment_limits.models.tokenizer import load_config
from alignment_limits.rewards.embedding import load_encoder
from alignment_limits.rewards.trained_head import trained_head
from alignment_limits.tables.artifacts import KEY, read_table, read_tables
from alignment_limits.tables.grid import Grid
from alignment_limits.tables.schemas.samples import FEATURES, PREFERENCES
from alignment_limits.training.model import WithoutAdapter, load, lora, padding_tokenizer
from alignment_limits.training.progress import SECONDS_BETWEEN_CHECKPOINTS, Progress
from alignment_limits.training.rewards import Signal, fit_reward
from alignment_limits.training.task import PairData, Task, dealt, placed, step_seed
from alignment_limits.training.trainers import trainer_of


def learned(
    run: Mapping[str, Any],
    made: Mapping[str, Any],
    samples: pl.DataFrame,
    *,
    table: str,
    features: Sequence[str] = (),
    encoder: str | None = None,
    device: str = "cpu",
) -> tuple[PairData, Signal | None]:
    """A run's pairs, with R̂ where it is fitted, and the signal where replies are scored by it.

    Args:
        run: its settings. made: how the pairs were made: reward, gamma, level, and what an encoder reads, text.
        samples: the base's, in key order. table: file of the pairs. features: shards of the samples' features; none:
            no reward is fitted. encoder: folder; none: no reply is scored.

    Raises:
        ArtifactError: there are too few pairs, or features are of other samples. EstimateError: too few for a fit.
    """
    grid = Grid.of(samples)
    own = dealt(read_table(table, PREFERENCES), made["level"], run["pairs"], run["seed"])
    pairs = placed(own, grid, np.unique(samples["sample_id"].to_numpy()), made["gamma"])
    if not features:
        return pairs, None
    seen = read_tables(features, FEATURES)
    if not seen.select(KEY).equals(samples.select(KEY)):
        raise ArtifactError("features are not those of the base's samples; delete them and run again")
    vectors = np.array(seen["features"].to_list(), dtype=np.float64)
    of_samples = np.full((*grid.shape, vectors.shape[1]), np.nan)
    of_samples[grid.row, grid.column] = vectors
    log_base = grid.array(samples["logprob"])
    # pairs that a reward judged, and not the target, say nothing of the base
    weight = 0.0 if made["reward"] else made["gamma"]
    reward = fit_reward(of_samples, log_base, pairs.row, pairs.chosen, pairs.rejected, base_weight=weight)
    say(
        f"the reward fitted to {run['pairs']} pairs: log loss {reward.held_out:.3f} nats on pairs left out "
        f"(by the model {-np.log(own['probability'].to_numpy()).mean():.3f})"
    )
    pairs = replace(pairs, fitted=reward(of_samples, log_base))
    if encoder is None:
        return pairs, None
    encode = load_encoder(Path(encoder), device, "left" if made["text"] == "prompt+reply" else "right")
    model = trained_head(encode, reward.weight, text=made["text"])
    return pairs, Signal(model, reward.base_weight, run["objective"], made["gamma"], float(run["coefficient"]))


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

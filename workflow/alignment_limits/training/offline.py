"""Objectives that learn from the base's samples: DPO on preferred pairs, best-of-n distilled; both through TRL.

DPO: of a pair, a is preferred with probability σ(r(a) − r(b)), r in base standard deviations. Its optimum then has
β·log(π/π₀) = r + const, which is the tilt at β. (Best against worst can be separated, and would have no optimum.)

Best-of-n: the coefficient is n. Each pick is the best of n samples of a prompt drawn without replacement, so it has
best-of-n's law, and the model of least cross-entropy to such picks is best-of-n itself.

Replies are drawn only to be watched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from alignment_limits.training.model import common, one_device
from alignment_limits.training.progress import Progress, draw
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


class PairsTrainer(DPOTrainer):
    """TRL's; pairs come as token ids, in their order."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset or self.train_dataset)


def dpo_trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
    """TRL's trainer for what is left of the run."""
    left = task.steps - progress.start
    arguments = one_device(
        DPOConfig(**common(task), max_steps=left, beta=task.settings["coefficient"], max_length=None)
    )
    return PairsTrainer(
        model=model,
        ref_model=None if peft_config else reference,
        args=arguments,
        train_dataset=Dataset.from_list(pairs(task)[progress.start * task.batch :]),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[Watching(task, progress, tokenizer.pad_token_id), progress],
    )


class _Sft(SFTTrainer):
    """Replies come as token ids, in their order."""

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset or self.train_dataset)


def best_of_n_trainer(
    task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any
) -> Any:
    """TRL's trainer for what is left of the run."""
    arguments = one_device(
        SFTConfig(
            **common(task),
            max_steps=task.steps - progress.start,
            max_length=None,
            packing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        )
    )
    return _Sft(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(picks(task)[progress.start * task.batch :]),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[Watching(task, progress, tokenizer.pad_token_id), progress],
    )

"""Best-of-n distilled: supervised fine-tuning through TRL on the best of n of the base's samples.

The coefficient is n. Each pick is the best of n samples of a prompt drawn without replacement, so it has best-of-n's
law, and the model of least cross-entropy to such picks is best-of-n itself.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from torch.utils.data import SequentialSampler
from trl import SFTConfig, SFTTrainer

from alignment_limits.training.arguments import common, one_device
from alignment_limits.training.from_samples import picks
from alignment_limits.training.offline import Watching
from alignment_limits.training.progress import Progress
from alignment_limits.training.task import Task


class _Sft(SFTTrainer):
    """Replies come as token ids, in their order."""

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset or self.train_dataset)


def trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
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

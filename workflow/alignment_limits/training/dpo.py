"""DPO through TRL on pairs of the base's samples, labelled as the reward's Bradley-Terry model would.

Of a pair, a is preferred with probability σ(r(a) − r(b)), r in base standard deviations. DPO's optimum then has
β·log(π/π₀) = r + const, which is the tilt at β. (Best against worst can be separated, and would have no optimum.)
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from torch.utils.data import SequentialSampler
from trl import DPOConfig, DPOTrainer

from alignment_limits.training.arguments import common, one_device
from alignment_limits.training.from_samples import pairs
from alignment_limits.training.offline import Watching
from alignment_limits.training.progress import Progress
from alignment_limits.training.task import Task


class PairsTrainer(DPOTrainer):
    """TRL's; pairs come as token ids, in their order."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset or self.train_dataset)


def trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
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

"""Objectives that learn from the base's samples, with TRL: on a reward, or on preference pairs.

DPO on a reward: of a pair, a is preferred with probability σ(r(a) − r(b)), with r in base standard deviations. The
optimum has β·log(π/π₀) = r + const, which is the tilt at β. (Pairs of best and worst can be separated, so they would
have no optimum.)

Tilt: each target is one of a prompt's samples, drawn with probability proportional to e^{r/β}, so its law is that of
the tilt for many samples. The model with the smallest cross-entropy to such targets is the tilt. So it shows what the
network can express, as far as the samples show the tilt: at an effective sample size (ESS) of few, it learns few
replies by heart. The job's log has the ESS.

Best-of-n: the coefficient is n. Each target is the best of n samples of a prompt drawn without replacement, so it has
the law of best-of-n. The model with the smallest cross-entropy to such targets is best-of-n.

On a study's preference pairs: PMLE, distillation, DPO, IPO and REBEL, by TRL's DPO trainer with the losses of "Beyond
RLHF: A Unified Theoretical Framework of Alignment" (arXiv 2506.01523).

Each loss is that of `preferences.objectives`, on log-probabilities of complete replies: sums over a reply's tokens,
with its stop token. A truncated reply counts as a prefix, as in a sample's `logprob`. (So IPO's margins are sums; those
of TRL are means over tokens.)

PMLE and distillation add β KL(π‖π₀). Its estimate on a batch is our choice. The pairs' replies are the base's, so with
w = π/π₀ the mean of w log w − w + 1 over them is unbiased, and no term is negative.

REBEL is one of its iterations, from π₀ on the base's pairs, with η = 1/β. It ends at π₀ e^{R̂/β}, the optimum of RLHF,
on replies in the pairs. Further iterations, on the policy's own replies, are left out (our choice).

Replies are sampled only for the curves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import selective_log_softmax

from alignment_limits.ensembles.scores import Array
from alignment_limits.jobs.job import say
from alignment_limits.preferences import objectives
from alignment_limits.training.run import Progress, draw
from alignment_limits.training.task import Task, common, one_device


def pairs(task: Task) -> list[dict[str, Any]]:
    """All pairs of the run, steps × batch: two different samples of a prompt each, with the preferred one."""
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


def tilt_weights(reward: Array, beta: float) -> Array:
    """Each sample's share [p, m] of its prompt's tilt at β, from rewards [p, m]; 0 where a sample is missing."""
    exponent = np.where(np.isnan(reward), -np.inf, reward / beta)
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def picks(task: Task) -> list[dict[str, Any]]:
    """All replies of the run, steps × batch; only the replies' tokens count in the loss."""
    rng, coefficient = np.random.default_rng([task.settings["seed"], 2]), task.settings["coefficient"]
    weights = None
    if task.settings["objective"] == "tilt":
        weights = tilt_weights(task.reward.base, float(coefficient))
        ess = 1 / (weights**2).sum(axis=1)
        say(f"samples that show the tilt at β = {coefficient:g}: ESS {np.median(ess):.1f} (median over prompts)")
    out = []
    for row in task.rows.ravel().tolist():
        if weights is None:
            drawn = rng.choice(len(task.samples[row]), int(coefficient), replace=False)
            pick = int(drawn[np.argmax(task.reward.base[row, drawn])])
        else:
            pick = int(rng.choice(weights.shape[1], p=weights[row]))
        best, sent = list(task.samples[row][pick]), list(task.sent[row])
        out.append({"input_ids": sent + best, "labels": [-100] * len(sent) + best})
    return out


class Watching(TrainerCallback):
    """Before each step, sample as many replies as the step trains on, and add them to the curves.

    Args:
        always: False: only before steps whose KL is measured; sampling can cost more than the step.
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
    """TRL's trainer; pairs are token ids and keep their order."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset or self.train_dataset)


def dpo_trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
    """TRL's trainer for the remaining steps of the run."""
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
    """TRL's trainer; replies are token ids and keep their order."""

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset or self.train_dataset)


def picks_trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
    """TRL's trainer for the remaining steps of the run."""
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


AGAINST_THE_BASE = ("dpo", "ipo", "rebel")  # have the base in their margins, and no penalty
Loss = Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor | None], torch.Tensor]


def loss_of(objective: str, *, coefficient: float, gamma: float) -> Loss:
    """The loss of a batch from its replies' log π [2, n] (chosen first), their log π₀, and R̂'s margins [n].

    log π₀ and the margins are None for objectives that do not use them (`reads_base`).
    """

    def loss(policy: torch.Tensor, base: torch.Tensor | None, reward: torch.Tensor | None) -> torch.Tensor:
        margin = policy[0] - policy[1]
        if objective in AGAINST_THE_BASE:
            assert base is not None
            against = base[0] - base[1]
            if objective == "dpo":
                by = objectives.dpo(margin, against, beta=coefficient)
            elif objective == "ipo":
                by = objectives.ipo(margin, against, tau=coefficient)
            else:
                by = objectives.rebel(margin, against, reward, eta=1 / coefficient)
            return torch.as_tensor(by.value).mean()
        if objective == "pmle":
            value = objectives.pmle(margin, gamma=gamma).value
        else:
            value = objectives.distillation(margin, reward, gamma=gamma).value
        mean = torch.as_tensor(value).mean()
        return mean if base is None else mean + coefficient * kl_on_base_replies(policy - base)

    return loss


def reads_base(objective: str, coefficient: float) -> bool:
    """Whether the loss uses log π₀."""
    return objective in AGAINST_THE_BASE or coefficient > 0


def kl_on_base_replies(log_ratio: torch.Tensor) -> torch.Tensor:
    """KL(π‖π₀) from log π/π₀ of replies drawn from π₀."""
    ratio = log_ratio.exp()
    return (ratio * log_ratio - ratio + 1).mean()


def reply_logprobs(logits: torch.Tensor, ids: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """log π of the replies [b] that are `inside` sequences [b, t], from the sequences' logits [b, t, v]."""
    tokens = selective_log_softmax(logits[:, :-1], ids[:, 1:])
    return torch.where(inside[:, 1:].bool(), tokens, 0.0).sum(dim=1)


class _Collator(DataCollatorForPreference):
    """TRL's data collator, with the margins of the fitted reward."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        if "reward_margin" in examples[0]:
            batch["reward_margin"] = torch.tensor([example["reward_margin"] for example in examples])
        return batch


class FromPairs(PairsTrainer):
    """TRL's DPO trainer with another loss; batches, the base's log-probabilities and steps are TRL's."""

    loss: Loss
    needs_base: bool

    def _compute_loss(self: Any, model: Any, inputs: dict[str, Any], return_outputs: bool = False) -> Any:
        batch = dict(inputs)
        reward = batch.pop("reward_margin", None)
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        policy = reply_logprobs(outputs.logits, batch["input_ids"], batch["completion_mask"])
        base = None
        if self.needs_base:
            base = torch.stack(self.compute_ref_log_probs(self.ref_model or model, batch))
        value = self.loss(policy.view(2, -1), base, reward)
        return (value, outputs) if return_outputs else value


def pairs_trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
    """TRL's trainer for the remaining steps of the run."""
    assert task.pairs
    settings = task.settings
    objective, coefficient = settings["objective"], float(settings["coefficient"])
    examples = task.pairs.examples(task.steps, task.batch, settings["seed"], task.sent, task.samples)
    made = FromPairs(
        model=model,
        ref_model=None if peft_config else reference,
        args=one_device(DPOConfig(**common(task), max_steps=task.steps - progress.start, max_length=None)),
        data_collator=_Collator(pad_token_id=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(list(examples)[progress.start * task.batch :]),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[Watching(task, progress, tokenizer.pad_token_id, always=False), progress],
    )
    made.loss = loss_of(objective, coefficient=coefficient, gamma=task.pairs.gamma)
    made.needs_base = reads_base(objective, coefficient)
    return made

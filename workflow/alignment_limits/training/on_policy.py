"""Objectives that learn from the policy's own replies, with TRL: GRPO and variants, RLOO, expert iteration and PPO.

All are configured so that rewards are not rescaled and the optimum is the tilt.

RLOO subtracts β·log(π/π₀) of the complete reply from its reward. Its optimum is the tilt at β.

GRPO adds β times a per-token KL to the loss. With `scale_rewards="none"` and `loss_type="dr_grpo"` rewards are not
divided by their spread, and replies not by their length, so both terms keep their proportion. The mean that is
subtracted from a group of G includes the reply itself. This shrinks the reward's gradient by 1 − 1/G, and we shrink β
by the same factor. One difference remains in TRL: the gradient of the KL at a token omits the token's effect on the
KL of later tokens. So GRPO's optimum is near the tilt, not at it.

"grpo-kl-in-reward" is GRPO without that KL and with β·log(π/π₀) of the complete reply subtracted from its reward, as in
RLOO. "grpo-k2" has β·½(log π/π₀)² of the complete reply in its loss, in place of the per-token KL. Its gradient is
log(π/π₀)·∇log π, whose mean over replies of π is that of KL(π‖π₀), with the effect on later tokens. So both have the
tilt as their optimum, and differ in noise: only the first subtracts a group's mean from the KL.

Expert iteration: a group is n replies of the policy, and a step makes the best one more likely. The reward is 1 for
the best reply and 0 for the others (ties share it). Subtracting the group's mean leaves the expected gradient of
fine-tuning on the best replies. A round is one step. Nothing holds it near the base but its number of steps.

Reverse KL and RLHF on a reward fitted to preference pairs are RLOO on another signal (`training.rewards.Signal`).

PPO, TRL's experimental trainer, subtracts β·log(π/π₀) of each token from its reward and adds the reply's score at the
end. With γ = λ = 1 a token's advantage is the sum of all later rewards minus the critic's value. Its gradient is that
of E r − β·KL(π‖π₀) for any critic. One difference remains in TRL: advantages are scaled to mean 0 and spread 1 over
the batch. This changes the size of a step, but not the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from peft import inject_adapter_in_model
from transformers.modeling_outputs import BaseModelOutput
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from alignment_limits.models.load import load_classifier
from alignment_limits.training.rewards import best_of_group, k2
from alignment_limits.training.run import Finished, Progress, cut, draw, left_padded, refuse_absolute_positions
from alignment_limits.training.task import Task, common, lora, one_device


class _StudyReplies:
    """TRL's trainer; replies follow the study's sampling law, and a prompt is identified by its row."""

    task: Task
    progress: Progress

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self.task.sent[int(row)]) for row in prompts], None, {}

    def _generate_single_turn(self: Any, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        self.progress.seed()
        task, padding = self.task, self.processing_class.pad_token_id
        model = self.accelerator.unwrap_model(self.model)
        replies = draw(model, prompt_ids, task.law, task.longest, task.stop, padding)
        return (replies, None) if isinstance(self, GRPOTrainer) else replies


class _Grpo(_StudyReplies, GRPOTrainer):
    pass


class _GrpoK2(_Grpo):
    """GRPO with ½(log π/π₀)² of the complete reply as its KL."""

    def _get_per_token_logps_and_entropies(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self.read = found[0]
        return found

    def _compute_loss(self: Any, model: Any, inputs: dict[str, Any]) -> Any:
        beta, self.beta = self.beta, 0.0  # no KL of TRL's own; the base was read all the same
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self.beta = beta
        apart = ((self.read - inputs["ref_per_token_logps"]) * inputs["completion_mask"]).sum(dim=1)
        return loss + beta * k2(apart) / self.max_completion_length  # the constant that TRL divides the reward by


class _Rloo(_StudyReplies, RLOOTrainer):
    pass


def grouped_trainer(
    task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any
) -> Any:
    """TRL's trainer for the remaining steps of the run."""
    refuse_absolute_positions(model, tokenizer.pad_token_id)
    settings, objective = task.settings, task.settings["objective"]
    rows = task.rows[progress.start :]
    arguments = common(task) | {
        "max_steps": len(rows) * settings["epochs"],
        "num_generations": settings["group"],
        "num_iterations": settings["epochs"],
        "max_completion_length": task.longest,
        "temperature": task.law.temperature,
        "top_p": task.law.top_p,
        "shuffle_dataset": False,
    }

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        at = [int(row) for row in prompts]
        measured = progress.measure(at, completion_ids)
        if task.signal:
            measured = task.signal_of(at, completion_ids, progress.log_base)
        elif objective == "grpo-kl-in-reward":
            measured = measured - settings["coefficient"] * progress.log_ratio
        elif objective == "expert-iteration":
            measured = best_of_group(measured, settings["group"])
        made: list[float] = measured.tolist()
        return made

    shared = {
        "model": model,
        "reward_funcs": reward,
        "train_dataset": Dataset.from_dict({"prompt": [str(row) for row in rows.ravel()]}),
        "processing_class": tokenizer,
        "peft_config": peft_config,
        "callbacks": [progress],
    }
    if objective in ("grpo", "grpo-k2", "grpo-kl-in-reward", "expert-iteration"):
        in_loss = objective in ("grpo", "grpo-k2")
        beta = settings["coefficient"] * (1 - 1 / settings["group"]) if in_loss else 0.0
        own = {"beta": beta, "scale_rewards": "none", "loss_type": "dr_grpo"}
        kind = _GrpoK2 if objective == "grpo-k2" else _Grpo
        made: Any = kind(args=one_device(GRPOConfig(**arguments, **own)), **shared)
    else:
        beta = task.signal.coefficient if task.signal else settings["coefficient"]
        own = {"beta": beta, "normalize_advantages": False}
        made = _Rloo(args=one_device(RLOOConfig(**arguments, **own)), **shared)
    made.task, made.progress = task, progress
    if peft_config is None:
        made.ref_model = reference
    return made


class _Batches:
    """The prompts of each step, for TRL's loop; reading them starts the step's noise."""

    def __init__(self, task: Task, progress: Progress, padding: int) -> None:
        self._task, self._progress, self.padding = task, progress, padding
        self.row: list[int] = []
        self.width = 0

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for row in self._task.rows[self._progress.start :]:
            if self._progress.converged:
                raise Finished
            self._progress.seed()
            self.row = row.tolist()
            queries = left_padded([self._task.sent[i] for i in self.row], self.padding)
            self.width = queries.shape[1]
            yield {"input_ids": queries}


class _Reward(torch.nn.Module):
    """A reward on token ids as TRL requires it: a body whose hidden states are the score, and an identity head."""

    base_model_prefix = "body"

    def __init__(self, task: Task, progress: Progress, batches: _Batches) -> None:
        super().__init__()
        self.body, self.score = _Scores(task, progress, batches), torch.nn.Identity()


class _Scores(torch.nn.Module):
    def __init__(self, task: Task, progress: Progress, batches: _Batches) -> None:
        super().__init__()
        self._task, self._progress, self._batches = task, progress, batches

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> BaseModelOutput:
        """The score at every position [n, t, 1]; TRL uses the last one."""
        at = slice(self._batches.width, None)
        padding = self._batches.padding
        replies = cut(input_ids[:, at].masked_fill(~attention_mask[:, at], padding), self._task.stop, padding)
        scores = torch.tensor(self._progress.measure(self._batches.row, replies), dtype=torch.float32)
        spread = scores.to(input_ids.device)[:, None, None].expand(*input_ids.shape, 1)
        return BaseModelOutput(hidden_states=(spread,))


class _Value(torch.nn.Module):
    """The critic's head; it starts at 0, the mean of the standardised reward over the base's replies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.linear(hidden.float())
        return value


def critic(task: Task, dtype: torch.dtype) -> Any:
    """The base with a scalar head; if the policy has an adapter, the critic has its own of the same shape."""
    model = load_classifier(task.base, labels=1, new_head=True, dtype=dtype, trust_remote_code=task.trust_remote_code)
    adapter = lora(task.settings["lora"], model, "SEQ_CLS")
    if adapter:
        model = inject_adapter_in_model(adapter, model)
        for name, weight in model.named_parameters():
            weight.requires_grad_("lora_" in name)
            if weight.requires_grad:
                weight.data = weight.data.float()
    model.score = _Value(model.config.hidden_size)
    return model


def ppo_trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
    """TRL's trainer for the remaining steps of the run."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer  # experimental: TRL may remove it; the others do not need it

    settings = task.settings
    left = task.steps - progress.start
    arguments = one_device(
        PPOConfig(
            **common(task),
            total_episodes=left * task.batch,
            num_ppo_epochs=settings["epochs"],
            num_mini_batches=1,
            local_rollout_forward_batch_size=task.batch,
            num_sample_generations=0,
            response_length=task.longest,
            temperature=task.law.temperature,
            kl_coef=settings["coefficient"],
            kl_estimator="k1",
            whiten_rewards=False,
            missing_eos_penalty=None,
            gamma=1.0,
            lam=1.0,
        )
    )
    batches = _Batches(task, progress, tokenizer.pad_token_id)
    made = PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=model,
        ref_model=None if peft_config else reference,
        reward_model=_Reward(task, progress, batches),
        train_dataset=Dataset.from_dict({"input_ids": [list(ids) for ids in task.sent]}),
        value_model=critic(task, model.dtype).to(model.device),
        peft_config=peft_config,
        callbacks=[progress],
    )
    # TRL has one stop token; generation uses all of them, and pads after them
    made.policy_model.generation_config.eos_token_id = list(task.stop) or None
    made.dataloader = batches
    return made

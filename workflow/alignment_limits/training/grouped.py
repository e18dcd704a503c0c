"""GRPO and RLOO through TRL, told so that the reward is not rescaled.

RLOO subtracts β·log(π/π₀) of the whole reply from its reward: its optimum is the tilt at β.

GRPO adds β times a per-token KL to the loss. With `scale_rewards="none"` and `loss_type="dr_grpo"` rewards are not
divided by their spread, nor replies by their length, so both terms keep their proportion. The mean that is subtracted
from a group of G includes the reply itself, which shrinks the reward's gradient by 1 − 1/G; β is shrunk likewise.
What TRL cannot be told: the gradient of the KL at a token leaves out what that token does to the KL of later ones,
so GRPO's optimum is near the tilt, not at it.

Reverse KL and RLHF on a reward fitted to preference pairs are RLOO on the signal that `fitted_reward` makes of them.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from alignment_limits.training.model import common, one_device
from alignment_limits.training.progress import Progress, draw, refuse_absolute_positions
from alignment_limits.training.task import Task


class _StudyReplies:
    """Replies are drawn by the study's law; a prompt is known by its row."""

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


class _Rloo(_StudyReplies, RLOOTrainer):
    pass


def trainer(task: Task, progress: Progress, model: Any, reference: Any, peft_config: Any, tokenizer: Any) -> Any:
    """TRL's trainer for what is left of the run."""
    refuse_absolute_positions(model, tokenizer.pad_token_id)
    settings = task.settings
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
        return (task.signal_of(at, completion_ids, progress.log_base) if task.signal else measured).tolist()

    shared = {
        "model": model,
        "reward_funcs": reward,
        "train_dataset": Dataset.from_dict({"prompt": [str(row) for row in rows.ravel()]}),
        "processing_class": tokenizer,
        "peft_config": peft_config,
        "callbacks": [progress],
    }
    if settings["objective"] == "grpo":
        beta = settings["coefficient"] * (1 - 1 / settings["group"])
        own = {"beta": beta, "scale_rewards": "none", "loss_type": "dr_grpo"}
        made: Any = _Grpo(args=one_device(GRPOConfig(**arguments, **own)), **shared)
    else:
        beta = task.signal.coefficient if task.signal else settings["coefficient"]
        own = {"beta": beta, "normalize_advantages": False}
        made = _Rloo(args=one_device(RLOOConfig(**arguments, **own)), **shared)
    made.task, made.progress = task, progress
    if peft_config is None:
        made.ref_model = reference
    return made

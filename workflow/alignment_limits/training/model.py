"""The base as a model to be trained, its adapter, padding, and what all of TRL's trainers are given alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch.nn import functional
from transformers import GenerationConfig
from transformers.pytorch_utils import Conv1D

from alignment_limits.errors import TrainingError
from alignment_limits.jobs.job import say
from alignment_limits.models.load import device_of_job, load_causal
from alignment_limits.models.split_model import SplitModel
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.training.task import Task

NEVER = -1e4  # a logit whose probability is 0 in every precision, and 0 · log 0 still 0
PADDING = "<|padding of training|>"


def load(folder: Path, dtype: str, stop: list[int], trust_remote_code: bool = False) -> Any:
    """The base with one token more than its vocabulary, for padding, which it never says; logits in float32.

    A model's own padding token may be its stop token (then TRL's PPO drops the stop from the reply) or one that it
    says (then it ends there).
    """
    model = load_causal(folder, dtype=dtype, device=device_of_job(), trust_remote_code=trust_remote_code)
    padding = int(model.get_output_embeddings().weight.shape[0])
    model.generation_config = GenerationConfig(eos_token_id=stop or None, pad_token_id=padding)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: (ids[0].clamp(max=padding - 1),))
    head = model.get_output_embeddings()
    # hidden states of a few positions are a slice; torch would copy a frozen head for every reply to multiply them
    head.register_forward_pre_hook(lambda _, states: (states[0].contiguous(),))
    head.register_forward_hook(lambda _module, _input, logits: functional.pad(logits.float(), (0, 1), value=NEVER))
    return model


def padding_tokenizer(folder: Path, vocabulary: int, trust_remote_code: bool = False) -> Any:
    """The base's tokenizer, whose padding token is the first id beyond the vocabulary, on the left."""
    tokenizer = load_tokenizer(folder, trust_remote_code)
    tokenizer.add_tokens([f"<|unused {i}|>" for i in range(len(tokenizer), vocabulary)], special_tokens=True)
    tokenizer.add_special_tokens({"pad_token": PADDING})
    tokenizer.padding_side = "left"
    assert tokenizer.pad_token_id == vocabulary
    return tokenizer


def lora(settings: dict[str, Any] | None, model: Any, task: str = "CAUSAL_LM") -> LoraConfig | None:
    """An adapter on all linear layers of the last blocks; None: all weights are trained."""
    if settings is None:
        return None
    blocks = model.config.num_hidden_layers
    body = getattr(model, model.base_model_prefix)
    linear = {name.split(".")[-1] for name, m in body.named_modules() if isinstance(m, torch.nn.Linear | Conv1D)}
    return LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        target_modules=sorted(linear),
        layers_to_transform=list(range(max(0, blocks - (settings["layers"] or blocks)), blocks)),
        task_type=task,
    )


class WithoutAdapter(SplitModel):
    """The base inside a policy that is an adapter on it."""

    def __init__(self, policy: PeftModel) -> None:
        self._policy = policy
        super().__init__(policy.get_base_model(), "the base")

    def hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `SplitModel.hidden`."""
        with self._policy.disable_adapter():
            return super().hidden(ids, mask)


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

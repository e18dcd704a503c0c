"""The inputs of a training job, for every objective: prompts, pairs, rewards and random numbers; the base as a model to
be trained, its adapter, its padding, and the common settings of TRL's trainers.

The prompts of a step and its noise depend only on the seed and the step's number. So a killed run continues as if it
had not been killed, and runs with another coefficient or reward have the same prompts and noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel
from torch.nn import functional
from transformers import GenerationConfig
from transformers.pytorch_utils import Conv1D

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError, TrainingError
from alignment_limits.jobs.job import say
from alignment_limits.jobs.leases import device_of_job
from alignment_limits.models.load import SplitModel, load_causal
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.sampling.shard import decode
from alignment_limits.tables.grid import Grid
from alignment_limits.training.rewards import Signal, StandardReward


@dataclass(frozen=True)
class PairData:
    """n pairs of the base's samples.

    row : each pair's prompt [n]. chosen, rejected : which of that prompt's samples [n]. gamma : preferences follow
    σ(γ log π*(a)/π*(b)). fitted : R̂ of the base's samples [p, m]; None if no reward is fitted.
    """

    row: NDArray[np.intp]
    chosen: NDArray[np.intp]
    rejected: NDArray[np.intp]
    gamma: float
    fitted: Array | None = None

    def examples(
        self,
        steps: int,
        batch: int,
        seed: int,
        sent: Sequence[Sequence[int]],
        samples: Sequence[Sequence[Sequence[int]]],
    ) -> Iterator[dict[str, Any]]:
        """The run's steps × batch pairs as token ids: all pairs once per pass, each pass in another order.

        If a reward was fitted, with its difference R̂(chosen) − R̂(rejected).
        """
        rng, size = np.random.default_rng([seed, 2]), len(self.row)
        order = np.concatenate([rng.permutation(size) for _ in range(-(-steps * batch // size))])[: steps * batch]
        for i in order.tolist():
            row, chosen, rejected = int(self.row[i]), int(self.chosen[i]), int(self.rejected[i])
            made: dict[str, Any] = {"prompt_ids": list(sent[row])}
            made |= {"chosen_ids": list(samples[row][chosen]), "rejected_ids": list(samples[row][rejected])}
            if self.fitted is not None:
                made["reward_margin"] = float(self.fitted[row, chosen] - self.fitted[row, rejected])
            yield made


def dealt(table: pl.DataFrame, level: float, size: int, seed: int) -> pl.DataFrame:
    """`size` pairs of the table's level: prompts take turns, and no pair goes to two seeds.

    Raises:
        ArtifactError: the table has too few pairs (dropped ties reduce their number).
    """
    own = table.filter(pl.col("level") == level)
    turns = own.with_columns(turn=pl.int_range(pl.len()).over("prompt_id")).sort("turn", "prompt_id")
    slice_ = turns.slice(seed * size, size).drop("turn")
    if slice_.height < size:
        raise ArtifactError(
            f"{size} pairs for each of the seeds 0 to {seed} are asked for, but there are {own.height}; "
            "raise preferences.pairs_per_prompt"
        )
    return slice_


def placed(pairs: pl.DataFrame, samples: Grid, ids: NDArray[Any], gamma: float) -> PairData:
    """Pairs by their positions in the arrays of the base's samples; `ids` are the sample_ids of its columns."""
    row = np.searchsorted(samples.prompt_ids, pairs["prompt_id"].to_numpy().astype(str))
    chosen, rejected = (np.searchsorted(ids, pairs[c].to_numpy()) for c in ("chosen_id", "rejected_id"))
    return PairData(row, chosen, rejected, gamma)


@dataclass(frozen=True)
class Task:
    """One run.

    settings : the recipe's, with its coefficient and seed. base : the base model's plain folder. sent : token ids of
    each prompt as sent to the model. prompts : each prompt as rewards read it. law, longest : of sampling. samples :
    token ids of the base's samples, prompt by prompt, in the order of `reward.base`. pairs : the pairs it learns from,
    if any. signal : what it maximises instead of `reward`, if anything; the curves always show `reward`. trained_on :
    rows of the prompts that it is trained on; None: all.
    """

    settings: dict[str, Any]
    base: Path
    sent: Sequence[Sequence[int]]
    prompts: Sequence[str]
    law: SamplingLaw
    longest: int
    reward: StandardReward
    samples: Sequence[Sequence[Sequence[int]]]
    tokenizer: Any
    stop: Sequence[int]
    scratch: Path
    template: str = "none"
    trust_remote_code: bool = False
    pairs: PairData | None = None
    signal: Signal | None = None
    trained_on: NDArray[np.intp] | None = None

    @property
    def own(self) -> NDArray[np.intp]:
        """Rows of the prompts that it is trained on."""
        return np.arange(len(self.sent)) if self.trained_on is None else self.trained_on

    @property
    def steps(self) -> int:
        return int(self.settings["steps"])

    @property
    def batch(self) -> int:
        return int(self.settings["batch"])

    @property
    def rows(self) -> NDArray[np.intp]:
        """Prompts of each step [steps, prompts per step]: every prompt once per pass, each pass in another order."""
        per_step = self.batch // self.settings["group"]
        rng = np.random.default_rng([self.settings["seed"], 1])
        rounds = -(-self.steps * per_step // len(self.own))
        order = self.own[np.concatenate([rng.permutation(len(self.own)) for _ in range(rounds)])]
        return order[: self.steps * per_step].reshape(self.steps, per_step)

    def score(self, row: Sequence[int], replies: Sequence[Sequence[int]]) -> Array:
        """Standardised rewards [n] of replies, token ids with their stop token, to the prompts at these rows."""
        return self.reward(row, *self._texts(row, replies))

    def signal_of(self, row: Sequence[int], replies: Sequence[Sequence[int]], log_base: Array) -> Array:
        """Rewards [n] that training maximises, of these replies with log π₀ [n]."""
        assert self.signal
        return self.signal(*self._texts(row, replies), log_base)

    def _texts(self, row: Sequence[int], replies: Sequence[Sequence[int]]) -> tuple[list[str], list[str]]:
        """Prompts and replies as rewards read them."""
        return [self.prompts[i] for i in row], decode(replies, self.tokenizer, self.stop, self.template)


def step_seed(seed: int, step: int) -> int:
    """32-bit seed of one step's noise."""
    return int.from_bytes(hashlib.sha256(f"training/{seed}/{step}".encode()).digest()[:4], "big")


NEVER = -1e4  # a logit with probability 0 in every precision, for which 0 · log 0 is 0
PADDING = "<|padding of training|>"


def load_base(folder: Path, dtype: str, stop: list[int], trust_remote_code: bool = False) -> Any:
    """The base with one more token than its vocabulary, for padding, which it never generates; logits in float32.

    A model's own padding token may be its stop token (then TRL's PPO drops the stop from the reply) or a token that it
    generates (then the reply would end there).
    """
    model = load_causal(folder, dtype=dtype, device=device_of_job(), trust_remote_code=trust_remote_code)
    padding = int(model.get_output_embeddings().weight.shape[0])
    model.generation_config = GenerationConfig(eos_token_id=stop or None, pad_token_id=padding)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: (ids[0].clamp(max=padding - 1),))
    head = model.get_output_embeddings()
    # hidden states of a few positions are a slice; torch would copy a frozen head for every reply
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
    """The common part of the configuration of every objective."""
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
        "bf16": False,  # the recipe sets the precision of the weights; no autocast
        "use_cpu": not torch.cuda.is_available(),
        "seed": seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def one_device(arguments: Any) -> Any:
    """Any of TRL's configurations, restricted to one device.

    If a process sees several GPUs, the Trainer would give each of them a batch. A step would then use several times the
    study's batch, and the results would depend on the machine.

    Args:
        arguments: a configuration of TRL; it is changed in place.

    Raises:
        TrainingError: it cannot be restricted to one device, or several processes train together.
    """
    processes = arguments.distributed_state.num_processes  # PPO's configuration has its own `world_size`
    if (seen := arguments.n_gpu) > 1:
        arguments._n_gpu = 1
        say(
            f"torch sees {seen} GPUs; this job trains on one of them ({arguments.device}), so that results do not "
            "depend on the machine. Set CUDA_VISIBLE_DEVICES to choose another"
        )
    if arguments.n_gpu > 1 or processes > 1:
        raise TrainingError(
            f"training would use {arguments.n_gpu} GPUs in each of {processes} process(es), which "
            "multiplies the batch; give the job one GPU (CUDA_VISIBLE_DEVICES=0) and start it as one process"
        )
    return arguments

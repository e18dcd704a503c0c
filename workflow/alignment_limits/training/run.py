"""One training run: from a study's files to a folder with the policy and the rows of its curves.

One TRL callback for all objectives writes the progress, a row of the curves per step, and checkpoints. A row is
measured on the step's replies before the optimiser uses them, so it belongs to the policy that drew them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import PrinterCallback, TrainerCallback, set_seed

from alignment_limits.errors import ArtifactError, TrainingError
from alignment_limits.files import atomic, reading
from alignment_limits.jobs.job import say
from alignment_limits.models.load import SplitModel
from alignment_limits.models.tokenizer import load_config
from alignment_limits.policies.kl import SamplingLaw, sequence_kl
from alignment_limits.rewards.embedding import load_encoder
from alignment_limits.rewards.heads import trained_head
from alignment_limits.study.objectives import trainer
from alignment_limits.tables.artifacts import KEY, read_table, read_tables
from alignment_limits.tables.grid import Grid
from alignment_limits.tables.schemas.samples import FEATURES, PREFERENCES
from alignment_limits.training.convergence import has_converged
from alignment_limits.training.rewards import Signal, fit_reward
from alignment_limits.training.task import (
    PairData,
    Task,
    WithoutAdapter,
    dealt,
    load_base,
    lora,
    padding_tokenizer,
    placed,
    step_seed,
)


def left_padded(prompts: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """Prompts as one tensor [n, t]."""
    width = max(map(len, prompts))
    return torch.tensor([[padding] * (width - len(p)) + list(p) for p in prompts])


def cut(replies: torch.Tensor, stop: Sequence[int], padding: int) -> list[list[int]]:
    """Token ids of each reply up to and including its first stop token; without padding."""
    out = []
    for row in replies.tolist():
        end = next((t + 1 for t, token in enumerate(row) if token in stop), len(row))
        out.append([token for token in row[:end] if token != padding])
    return out


@torch.no_grad()
def draw(
    model: Any, prompts: Sequence[Sequence[int]], law: SamplingLaw, longest: int, stop: Sequence[int], padding: int
) -> list[list[int]]:
    """One reply to each prompt: token ids with the stop token, truncated at `longest` tokens."""
    ids = left_padded(prompts, padding).to(model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=(ids != padding).long(),
        do_sample=True,
        temperature=law.temperature,
        top_p=law.top_p,
        top_k=0,
        max_new_tokens=longest,
        eos_token_id=list(stop) or None,
        pad_token_id=padding,
    )
    return cut(made[:, ids.shape[1] :], stop, padding)


def refuse_absolute_positions(model: Any, padding: int) -> None:
    """Check that padding on the left does not change logits: TRL's GRPO and RLOO pass no positions for it.

    Raises:
        TrainingError: the model's logits depend on the amount of padding in front.
    """
    ids = torch.arange(8, device=model.device)[None] % padding  # the padding's row is the one after the vocabulary
    padded = torch.cat([torch.full((1, 5), padding, device=model.device), ids], 1)
    with torch.inference_mode():
        alone = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :, :padding]
        behind = model(input_ids=padded, attention_mask=(padded != padding).long()).logits[0, 5:, :padding]
    allowed = 1e-3 if model.dtype == torch.float32 else 0.05
    if float((alone - behind).abs().max()) > allowed * float(alone.abs().max()):
        raise TrainingError(
            f"{type(model).__name__} counts positions from the padding on, which TRL's GRPO and RLOO put in front of "
            "shorter prompts, so they would train on other log-probabilities than the model's; train it by ppo or dpo"
        )


class Finished(Exception):
    """Training has converged, in a loop of TRL that cannot be ended otherwise."""


SECONDS_BETWEEN_CHECKPOINTS = 120.0
SECONDS_BETWEEN_LINES = 30.0


class Progress(TrainerCallback):
    """Rows of the curves so far; continues from a checkpoint with the same settings and code, if there is one.

    If the training signal contains log-probabilities, both models read the replies at every step: `log_base` is their
    log π₀ [n], and `log_ratio` log π/π₀.

    Args:
        file: of the checkpoint. stamp: a checkpoint is used only if its stamp is equal.
    """

    def __init__(self, task: Task, file: Path, stamp: str, every: float = SECONDS_BETWEEN_CHECKPOINTS) -> None:
        self._task, self._file, self._stamp, self._every = task, file, stamp, every
        self._saved = read(file, stamp)
        self.rows: list[dict[str, float]] = self._saved["rows"] if self._saved else []
        self.start = len(self.rows)
        self.log_base = self.log_ratio = np.empty(0)
        self._began = self._last_save = self._last_line = time.monotonic()
        if self.start:
            say(f"training continues after step {self.start} of {task.steps}")

    def watch(self, policy: SplitModel, base: SplitModel, trained: torch.nn.Module, trainer: Any) -> None:
        """The models whose KL is measured, the module whose weights are trained, and TRL's trainer."""
        self._policy, self._base, self._trained, self._trainer = policy, base, trained, trainer

    def seed(self) -> None:
        """Start the next step's noise."""
        set_seed(step_seed(self._task.settings["seed"], len(self.rows)))

    def due(self, step: int) -> bool:
        """Whether the curves show the KL of this step: every few steps, and the last one."""
        return step % self._task.settings["kl_every"] == 0 or step == self._task.steps - 1

    @property
    def converged(self) -> bool:
        """Whether the stopping rule, if there is one, ends the run after the last row."""
        stop = self._task.settings.get("stop") or {}
        return bool(stop) and has_converged(self.rows, float(self._task.settings["coefficient"]), stop["patience"])

    def unseen(self) -> None:
        """Add the step to the curves without replies."""
        self.rows.append({"step": len(self.rows)})

    def measure(self, row: Sequence[int], replies: Sequence[Sequence[int]]) -> np.ndarray:
        """Score the step's replies [n] to the prompts at these rows, and add the step to the curves."""
        reward = self._task.score(row, replies)
        length = float(np.mean([len(reply) for reply in replies]))
        self.rows.append({"step": len(self.rows), "reward": float(reward.mean()), "length": length})
        needed = self._task.signal or self._task.settings["objective"] == "grpo-kl-in-reward"
        if self.due(len(self.rows) - 1) or needed:
            sent = [self._task.sent[i] for i in row]
            read = sequence_kl(self._policy, self._base, sent, replies, self._task.law)
            self.log_base, self.log_ratio = read.logprob_base, read.log_ratio
            # minus the log-probability is an unbiased estimate of the entropy of the replies' law
            means = {"kl": read.kl.mean(), "kl_log_ratio": read.log_ratio.mean(), "entropy": -read.logprob.mean()}
            self.rows[-1] |= {name: float(value) for name, value in means.items()}
        return reward

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Load weights and optimiser from the checkpoint."""
        if self._saved:
            with torch.no_grad():
                for name, weight in _trained(self._trained).items():
                    weight.copy_(self._saved["weights"][name])
            self._trainer.optimizer.load_state_dict(self._saved["optimizer"])
            self._saved = None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """At the end of a step: its loss, a line in the log, and a checkpoint if it is time."""
        loss = logs.get("loss", logs.get("loss/policy_avg"))
        if loss is None or not self.rows:
            return
        self.rows[-1]["loss"] = float(loss)
        done, now = len(self.rows), time.monotonic()
        if state.global_step % self._task.settings["epochs"] and "loss" in logs:
            return  # between two passes over one batch
        if self.converged:
            control.should_training_stop = True  # PPO's loop does not read it; its prompts end
        over = control.should_training_stop or done == self._task.steps
        if now - self._last_line > SECONDS_BETWEEN_LINES or over:
            pace = (now - self._began) / (done - self.start)
            row, kl = ([r for r in self.rows if key in r][-1] for key in ("reward", "kl"))
            say(
                f"step {done}/{self._task.steps}: reward {row['reward']:.2f}, KL {kl['kl']:.3f} nats, "
                f"{row['length']:.1f} tokens; {pace:.1f} s a step, "
                + (
                    "converged"
                    if over and done < self._task.steps
                    else f"{pace * (self._task.steps - done):.0f} s to go"
                )
            )
            self._last_line = now
        if now - self._last_save >= self._every and not over:  # at least one step is left
            self.save()
            self._last_save = time.monotonic()

    def save(self) -> None:
        """Write the checkpoint completely or not at all."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().cpu() for name, weight in _trained(self._trained).items()}
        content = {
            "stamp": self._stamp,
            "rows": self.rows,
            "weights": weights,
            "optimizer": self._trainer.optimizer.state_dict(),
        }
        with atomic(self._file) as temporary:
            torch.save(content, temporary)


def read(file: Path, stamp: str) -> dict[str, Any] | None:
    """A checkpoint with the same settings and code, or None."""
    if not os.path.exists(file):
        return None
    with reading(file, TrainingError, "delete it and run again: the training starts afresh"):
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        made_by = saved["stamp"]
    if made_by != stamp:
        say(f"{file} has other settings or code: training starts from the beginning")
        return None
    return saved


def _trained(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def trainer_of(settings: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that creates TRL's trainer from a `Task`, for the run's objective on rewards or on pairs."""
    # TRL imports any installed vLLM, and fails at unknown releases; nothing here samples with vLLM
    known: Any = importlib.import_module("trl.import_utils")
    known.is_vllm_available = lambda *_, **__: False
    module, function = trainer(settings["objective"], on_pairs="setting" in settings)
    chosen: Callable[..., Any] = getattr(importlib.import_module(f"alignment_limits.training.{module}"), function)
    return chosen


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
    """A run's pairs, with R̂ if it is fitted, and the signal if it scores replies.

    Args:
        run: its settings. made: settings of the pairs (reward, gamma, level), and `text`, which an encoder reads.
        samples: the base's, in key order. table: file of the pairs. features: shards of the samples' features; none:
            no reward is fitted. encoder: its folder; none: no reply is scored.

    Raises:
        ArtifactError: too few pairs, or features of other samples. EstimateError: too few pairs for a fit.
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
    # pairs judged by a reward, not by the target, have no information about the base
    weight = 0.0 if made["reward"] else made["gamma"]
    reward = fit_reward(of_samples, log_base, pairs.row, pairs.chosen, pairs.rejected, base_weight=weight)
    say(
        f"the reward fitted to {run['pairs']} pairs: log loss {reward.held_out:.3f} nats on held-out pairs "
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
    """Train, and write the adapter, or the full model with its tokenizer, to `folder`.

    Args:
        checkpoint: file to continue from, and to keep if the job is killed. stamp: the stamp it must have.
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
        load_base(task.base, settings["dtype"], list(task.stop), task.trust_remote_code) if needed else None
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
    gc.freeze()  # PPO collects garbage three times a step; each takes 0.2 s unless imported objects are frozen
    with contextlib.suppress(Finished):
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

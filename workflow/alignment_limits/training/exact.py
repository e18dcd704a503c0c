"""Training by the exact gradient, for models whose replies can all be listed: without sampling and without TRL.

`steps` of the recipe is the maximum number of L-BFGS iterations. Training stops earlier once it is close to the
optimum. All weights are trained. Batches, learning rate and seed have no effect.

The objective is 𝒥(π) = E_x[E_π r − β KL(π‖π₀)], a sum over all replies, differentiable in the weights: no advantages,
no clipping. So it shows what training could reach. Its optimum over all laws is the tilt π_β, and
𝒥(π_β) − 𝒥(π) = β E_x KL(π‖π_β) exactly (docs/theory.md, "The tilt"). So the distance to the optimum is known at every
step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import EstimateError
from alignment_limits.exact.laws import kl, mean, tilt
from alignment_limits.exact.world import Replies, exact_logprobs, load_exact, replies_of, reply_logprobs
from alignment_limits.jobs.job import say
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.training.task import Task


def trainer(task: Task, folder: Path) -> list[dict[str, float]]:
    """Train a policy, write it to `folder`, and return the rows of its curves (exact values, not batch means).

    Raises:
        EstimateError: training did not come close to the optimum.
    """
    model = load_exact(task.base, task.trust_remote_code)
    replies = replies_of(model, task.stop, task.longest)
    sent = [task.sent[i] for i in task.own]
    exact_logprobs(model, sent, replies, task.law)  # refuses a model that cannot read a tree of replies
    reward = np.stack([task.score([i] * len(replies), replies.tokens) for i in task.own])

    def told(p: Progress) -> None:
        if p.step % 200 == 0:
            say(f"step {p.step}: {p.gap:.2g} below the optimum")

    path = train(
        model, sent, replies, reward, float(task.settings["coefficient"]), law=task.law, steps=task.steps,
        told=told,
    )  # fmt: skip
    if folder.exists():
        shutil.rmtree(folder)
    model.float().save_pretrained(folder)
    task.tokenizer.save_pretrained(folder)
    return [_row(p) for p in path]


def _row(p: Progress) -> dict[str, float]:
    return {
        "step": p.step,
        "reward": p.reward,
        "kl": p.kl,
        "kl_log_ratio": p.kl,
        "length": p.length,
        "entropy": p.entropy,
        "loss": p.gap,
    }


EVERY = 20  # iterations of L-BFGS between two measurements
CLOSE = 1e-3  # of the optimum, in units of the reward
MEMORY = 100  # pairs of steps and gradients that L-BFGS keeps


@dataclass(frozen=True)
class Progress:
    """Where training stands, means over prompts.

    Attributes:
        step: iterations so far.
        reward: centred, in the units given.
        kl, entropy: nats per reply.
        length: tokens of a reply.
        gap: distance of 𝒥 below its optimum, in units of the reward.
    """

    step: int
    reward: float
    kl: float
    entropy: float
    length: float
    gap: float


def train(
    model: Any,
    prompts: Sequence[Sequence[int]],
    replies: Replies,
    reward: Array,
    beta: float,
    *,
    law: SamplingLaw | None = None,
    close: float = CLOSE,
    steps: int = 3000,
    told: Callable[[Progress], object] = lambda progress: None,
) -> list[Progress]:
    """Move all weights of `model` to the optimum of 𝒥, by L-BFGS.

    Args:
        model: in float64; the base at the start, and changed in place.
        prompts: token ids.
        replies: all replies.
        reward: of every reply [p, R].
        beta: KL coefficient, in units of the reward.
        law: how next tokens are drawn; default: temperature 1, top-p 1.
        close: stop when 𝒥 is this close to its optimum.
        steps: largest number of iterations.
        told: called with the progress every few iterations.

    Returns:
        The progress from the start to the end.

    Raises:
        EstimateError: it did not come close.

    References:
        docs/theory.md, "The tilt".
    """
    with torch.no_grad():
        base = reply_logprobs(model, prompts, replies, law)
    log_base = base.numpy()
    centred = reward - mean(log_base, reward)[:, None]
    target = tilt(log_base, reward, beta)
    best = float((mean(target, centred) - beta * kl(target, log_base)).mean())
    worth, lengths = torch.from_numpy(centred), replies.inside.sum(dim=1).double().numpy()
    optimiser = torch.optim.LBFGS(
        model.parameters(),
        max_iter=EVERY,
        history_size=MEMORY,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )

    def loss() -> torch.Tensor:
        logp = reply_logprobs(model, prompts, replies, law)
        return -(logp.exp() * (worth - beta * (logp - base))).sum(dim=1).mean()

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    def look(step: int) -> Progress:
        with torch.no_grad():
            logp = reply_logprobs(model, prompts, replies, law).numpy()
        gained, spent = float(mean(logp, centred).mean()), float(kl(logp, log_base).mean())
        entropy = float(-mean(logp, logp).mean())
        length = float((np.exp(logp) @ lengths).mean())
        return Progress(step, gained, spent, entropy, length, best - (gained - beta * spent))

    path = [look(0)]
    while path[-1].gap > close and path[-1].step < steps:
        optimiser.step(closure)
        path.append(look(path[-1].step + EVERY))
        told(path[-1])
    if path[-1].gap > close:
        raise EstimateError(
            f"exact training stopped {path[-1].gap:.2g} below the optimum after {path[-1].step} iterations, not "
            f"{close:g}; the model is too small for the tilt at β = {beta:g}, or needs more iterations"
        )
    return path

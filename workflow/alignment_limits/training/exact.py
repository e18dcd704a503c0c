"""Training by the exact gradient, for models whose replies can all be listed: without sampling and without TRL.

`steps` of the recipe is the maximum number of L-BFGS iterations. Training stops earlier once it is close to the
optimum. All weights are trained. Batches, learning rate and seed have no effect.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from alignment_limits.exact.replies import exact_logprobs, load_exact, replies_of
from alignment_limits.exact.training import Progress, train
from alignment_limits.jobs.job import say
from alignment_limits.training.task import Task


def trainer(task: Task, folder: Path) -> list[dict[str, float]]:
    """Train a policy, write it to `folder`, and return the rows of its curves (exact values, not batch means).

    Raises:
        EstimateError: training did not come close to the optimum.
    """
    model = load_exact(task.base, task.trust_remote_code)
    replies = replies_of(model, task.stop, task.longest)
    exact_logprobs(model, task.sent, replies, task.law)  # refuses a model that cannot read a tree of replies
    reward = np.stack([task.score([i] * len(replies), replies.tokens) for i in range(len(task.sent))])

    def told(p: Progress) -> None:
        if p.step % 200 == 0:
            say(f"step {p.step}: {p.gap:.2g} below the optimum")

    path = train(
        model, task.sent, replies, reward, float(task.settings["coefficient"]), law=task.law, steps=task.steps,
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

"""When training has converged: a rule on the curves of a run, and the words for how a run ended.

The objective of training is 𝒥 = E r − β KL(π‖π₀), in base standard deviations. A point of its curve is the mean reward
of the steps since the last measured KL, minus β times that KL. The base has 𝒥 = 0, as rewards are centred.

The rule (ours). After t steps let w = max(patience, t/4). The curve is flat there if

1. the mean of 𝒥 over the last w steps is not above the mean over the w steps before them by more than one standard
   error of the difference, and
2. the last mean differs from 0, the base's, by more than two standard errors of its own.

A run has converged when its curve was flat at every point of the last `patience` steps. So no run stops before
3·patience steps. Why so:

- Two means are compared, not a mean with the best so far. The best of many noisy values is too high, and a rule that
  waits for a better one stops too early.
- The windows grow with the run. The noise of a mean falls as 1/√w, so a slow rise that 2·patience steps do not show
  becomes visible later. The price is a longer run.
- One look at noise says "flat" now and then while 𝒥 still rises. Looks at all points of `patience` steps seldom do.
- The noise is that of differences of successive points: σ² = mean((𝒥ᵢ₊₁ − 𝒥ᵢ)²)/2. A trend does not count as noise.
  Noise that lasts over several steps is counted too low, so the run stops later, not earlier.
- A rate that is too small moves nothing, which looks like a plateau. Condition 2 lets such a run go on to its maximum.

The rule sees rows of the table and nothing else. So a killed run that continues stops at the same step.

The last policy is kept, not the best one. On a plateau the policies of all steps have the same expected 𝒥, and the best
of them by its own noisy batch is the one with the luckiest batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alignment_limits.ensembles.scores import Array

GROWTH = 4  # a window is at least one part in so many of the run
RISE = 1.0  # standard errors of the difference; a larger rise is an improvement
AWAY = 2.0  # standard errors of a mean; a smaller distance from the base is none
FEWEST = 4  # points of a window

CONVERGED, CUT_SHORT, FIXED = "converged", "cut short", "fixed"


@dataclass(frozen=True)
class Look:
    """The two windows that end after some steps, in base standard deviations.

    Attributes:
        window: steps of each window.
        objective: mean of 𝒥 over the last window.
        change: how much it is above the mean of the window before.
        noise: standard error of `change`.
        flat: whether conditions 1 and 2 hold.
    """

    window: int
    objective: float
    change: float
    noise: float
    flat: bool


def objective(rows: Sequence[Mapping[str, Any]], coefficient: float) -> tuple[Array, Array]:
    """𝒥 at the steps whose KL was measured.

    Args:
        rows: of a run's curves, in order, with `step`, `reward` and, at some steps, `kl`.
        coefficient: β.

    Returns:
        Steps [n] and 𝒥 [n], in base standard deviations.

    Example:
        >>> first, last = {"step": 0, "reward": 0.0, "kl": 0.0}, {"step": 2, "reward": 2.0, "kl": 1.0}
        >>> objective([first, {"step": 1, "reward": 1.0}, last], 0.5)
        (array([0., 2.]), array([0., 1.]))
    """
    steps, values, rewards = [], [], []
    for row in rows:
        if row.get("reward") is not None:
            rewards.append(float(row["reward"]))
        if rewards and row.get("kl") is not None:
            steps.append(float(row["step"]))
            values.append(float(np.mean(rewards)) - coefficient * float(row["kl"]))
            rewards = []
    return np.array(steps), np.array(values)


def look(steps: Array, values: Array, done: int, patience: int) -> Look | None:
    """The two windows that end after `done` steps; None if there are too few steps or points for two."""
    window = max(patience, done // GROWTH)
    start, middle, end = np.searchsorted(steps, [done - 2 * window, done - window, done])
    before, last = values[start:middle], values[middle:end]
    if done < 2 * window or min(len(last), len(before)) < FEWEST:
        return None
    variance = float(np.concatenate([np.diff(last) ** 2, np.diff(before) ** 2]).mean()) / 2
    mean = float(last.mean())
    change, noise = mean - float(before.mean()), float(np.sqrt(variance * (1 / len(last) + 1 / len(before))))
    moved = abs(mean) > AWAY * np.sqrt(variance / len(last))
    return Look(window, mean, change, noise, bool(change <= RISE * noise and moved))


def has_converged(rows: Sequence[Mapping[str, Any]], coefficient: float, patience: int) -> bool:
    """Whether a run stops after its last row, which then has a KL, as the last row of every run.

    Args:
        rows: as for `objective`.
        coefficient: β.
        patience: the shortest window, in steps, and how long the curve has to be flat.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = [{"step": t, "reward": 1 - np.exp(-t / 20) + 0.1 * rng.normal(), "kl": 0.0} for t in range(300)]
        >>> [has_converged(rows[:t], 1.0, 25) for t in (60, 80, 300)]
        [False, False, True]
    """
    done = len(rows)
    if done < 3 * patience or rows[-1].get("kl") is None:
        return False
    steps, values = objective(rows, coefficient)
    ends = [int(step) + 1 for step in steps if step >= done - 1 - patience]
    looks = (look(steps, values, end, patience) for end in reversed(ends))
    return all(each is not None and each.flat for each in looks)


def ending(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """How a finished run ended.

    Args:
        rows: of its curves.
        settings: of the run: `stop` with its `patience`, `steps` and `coefficient`.

    Returns:
        `ended`: "converged", "cut short" (its maximum of steps came first) or "fixed" (no rule was asked for);
        `steps`; with a rule also the last windows' `window`, `objective`, `change` and `noise`, where there are two.

    Example:
        >>> ending([{"step": 0, "reward": 0.0, "kl": 0.0}], {"steps": 1, "coefficient": 1.0, "stop": {"patience": 20}})
        {'ended': 'cut short', 'steps': 1}
    """
    stop = settings.get("stop")
    if settings.get("objective") == "exact":  # it ends near the optimum, or with an error
        return {"ended": CONVERGED, "steps": int(rows[-1]["step"])}
    if not stop:
        return {"ended": FIXED, "steps": len(rows)}
    coefficient, patience = float(settings["coefficient"]), int(stop["patience"])
    found = look(*objective(rows, coefficient), len(rows), patience)
    windows = {} if found is None else {k: getattr(found, k) for k in ("window", "objective", "change", "noise")}
    ended = CONVERGED if has_converged(rows, coefficient, patience) else CUT_SHORT
    return {"ended": ended, "steps": len(rows)} | windows


def phrase(ended: str, steps: int) -> str:
    """How a run ended, in words.

    Example:
        >>> phrase("converged", 312), phrase("cut short", 600), phrase("fixed", 24)
        ('converged at step 312', 'cut short at 600 steps', '24 steps')
    """
    at = {CONVERGED: f"converged at step {steps}", CUT_SHORT: f"cut short at {steps} steps"}
    return at.get(ended, f"{steps} steps")

"""The registry of objectives: their names, markers, properties and trainers.

A new objective needs an entry here (and in the types below, for the study file), its loss in
`preferences/objectives.py`, and its learner or trainer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Learned = Literal["pmle", "distillation", "distillation-on-policy", "reverse-kl", "rlhf", "dpo", "rebel", "ipo"]
Trained = Literal[
    "ppo",
    "grpo",
    "grpo-kl-in-reward",
    "grpo-k2",
    "rloo",
    "dpo",
    "tilt",
    "best-of-n",
    "expert-iteration",
    "exact",
    "pmle",
    "distillation",
    "ipo",
    "rebel",
    "reverse-kl",
    "rlhf",
]


@dataclass(frozen=True)
class Objective:
    """One objective.

    Attributes:
        label: its name in figures and pages.
        marker: of Matplotlib, in figures of learning; "" for objectives that do not learn from preferences.
        on_rewards: its trainer on a reward, `module` or `module:function` of `training/`; "": none.
        on_pairs: its trainer on preference pairs.
        online: samples replies from the policy in training.
        grouped: an online objective that compares replies to one prompt.
        fits_reward: first fits a reward to the pairs.
        unregularised: has a target without a KL penalty.
        estimates_kl: estimates the penalty on the pairs' replies.
        tilts: on a reward, its optimum over all laws is the tilt.
        counts: its coefficient is a number of replies, not β.
        penalised: on a reward, it maximises E r − β·KL by steps, with its coefficient as β.
    """

    label: str
    marker: str = ""
    on_rewards: str = ""
    on_pairs: str = ""
    online: bool = False
    grouped: bool = False
    fits_reward: bool = False
    unregularised: bool = False
    estimates_kl: bool = False
    tilts: bool = False
    counts: bool = False
    penalised: bool = False


_GROUPED = "on_policy:grouped_trainer"

# in the order of figures and pages
OBJECTIVES = {
    "reverse-kl": Objective(
        "reverse KL",
        "o",
        on_pairs=_GROUPED,
        online=True,
        grouped=True,
        fits_reward=True,
        unregularised=True,
    ),
    "pmle": Objective("PMLE", "s", on_pairs="offline:pairs_trainer", unregularised=True, estimates_kl=True),
    "distillation": Objective(
        "distillation", "D", on_pairs="offline:pairs_trainer", fits_reward=True, unregularised=True, estimates_kl=True
    ),
    "distillation-on-policy": Objective("distillation, on-policy", "P"),
    "rlhf": Objective("RLHF", "^", on_pairs=_GROUPED, online=True, grouped=True, fits_reward=True),
    "dpo": Objective(
        "DPO", "v", on_rewards="offline:dpo_trainer", on_pairs="offline:pairs_trainer", penalised=True, tilts=True
    ),
    "rebel": Objective("REBEL", "<", on_pairs="offline:pairs_trainer", fits_reward=True),
    "ipo": Objective("IPO", "X", on_pairs="offline:pairs_trainer"),
    "ppo": Objective("ppo", on_rewards="on_policy:ppo_trainer", online=True, penalised=True, tilts=True),
    "grpo": Objective("grpo", on_rewards=_GROUPED, online=True, grouped=True, penalised=True),
    "grpo-kl-in-reward": Objective(
        "grpo, KL in reward", on_rewards=_GROUPED, online=True, grouped=True, penalised=True, tilts=True
    ),
    "grpo-k2": Objective("grpo, k2 loss", on_rewards=_GROUPED, online=True, grouped=True, penalised=True, tilts=True),
    "rloo": Objective("rloo", on_rewards=_GROUPED, online=True, grouped=True, penalised=True, tilts=True),
    "tilt": Objective("tilt's samples", on_rewards="offline:picks_trainer", penalised=True, tilts=True),
    "best-of-n": Objective("best-of-n", on_rewards="offline:picks_trainer", counts=True),
    "expert-iteration": Objective("expert iteration", on_rewards=_GROUPED, online=True, grouped=True, counts=True),
    "exact": Objective("exact", on_rewards="exact", tilts=True),
}


def those(trait: str) -> list[str]:
    """The objectives with a trait (a true attribute of `Objective`).

    Example:
        >>> those("estimates_kl")
        ['pmle', 'distillation']
    """
    return [name for name, objective in OBJECTIVES.items() if getattr(objective, trait)]


def counts(objective: str | None) -> bool:
    """Whether an objective's coefficient is a number of replies, not β.

    Example:
        >>> counts("best-of-n"), counts("grpo"), counts("mine")
        (True, False, False)
    """
    return objective in OBJECTIVES and OBJECTIVES[objective].counts


def named(objective: str) -> str:
    """An objective's label; a name that is not in the registry stays unchanged.

    Example:
        >>> named("pmle"), named("mine")
        ('PMLE', 'mine')
    """
    return OBJECTIVES[objective].label if objective in OBJECTIVES else objective


def in_order(objectives: Iterable[str]) -> list[str]:
    """The objectives among them that learn from preferences, in the order of figures."""
    return [name for name in those("marker") if name in set(objectives)]


def trainer(objective: str, *, on_pairs: bool) -> tuple[str, str]:
    """Module of `training/` and function in it that train with an objective.

    Example:
        >>> trainer("dpo", on_pairs=False)
        ('offline', 'dpo_trainer')
    """
    entry = OBJECTIVES[objective]
    module, _, function = (entry.on_pairs if on_pairs else entry.on_rewards).partition(":")
    return module, function or "trainer"

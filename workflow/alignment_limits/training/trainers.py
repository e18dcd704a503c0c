"""Which module trains by which objective; each is imported only where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

_OF_REWARDS = {
    "ppo": "ppo",
    "grpo": "grouped",
    "rloo": "grouped",
    "dpo": "offline:dpo_trainer",
    "best-of-n": "offline:best_of_n_trainer",
    "exact": "exact",
}
_OF_PREFERENCES = {
    "pmle": "from_pairs",
    "distillation": "from_pairs",
    "dpo": "from_pairs",
    "ipo": "from_pairs",
    "rebel": "from_pairs",
    "reverse-kl": "grouped",
    "rlhf": "grouped",
}


def module_of(settings: Mapping[str, Any]) -> str:
    """Name of the module in this package that trains by a run's objective, on rewards or on a study's pairs."""
    return _place(settings)[0]


def _place(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Module and function that train by a run's objective."""
    named = (_OF_PREFERENCES if "setting" in settings else _OF_REWARDS)[settings["objective"]]
    module, _, function = named.partition(":")
    return module, function or "trainer"


def trainer_of(settings: Mapping[str, Any]) -> Callable[..., Any]:
    """What makes TRL's trainer from a `Task`."""
    # TRL imports whatever vLLM is installed, and fails at releases it does not know; nothing here samples through it
    known: Any = importlib.import_module("trl.import_utils")
    known.is_vllm_available = lambda *_, **__: False
    module, function = _place(settings)
    chosen: Callable[..., Any] = getattr(importlib.import_module(f"alignment_limits.training.{module}"), function)
    return chosen

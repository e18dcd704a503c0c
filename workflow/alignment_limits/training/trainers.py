"""Which module trains by which objective; each is imported only where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

_MODULES = {
    "ppo": "ppo",
    "grpo": "grouped",
    "rloo": "grouped",
    "dpo": "dpo",
    "best-of-n": "best_of_n",
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
    return (_OF_PREFERENCES if "setting" in settings else _MODULES)[settings["objective"]]


def trainer_of(settings: Mapping[str, Any]) -> Callable[..., Any]:
    """The module's `trainer`: makes TRL's trainer from a `Task`."""
    # TRL imports whatever vLLM is installed, and fails at releases it does not know; nothing here samples through it
    known: Any = importlib.import_module("trl.import_utils")
    known.is_vllm_available = lambda *_, **__: False
    module: Any = importlib.import_module(f"alignment_limits.training.{module_of(settings)}")
    chosen: Callable[..., Any] = module.trainer
    return chosen

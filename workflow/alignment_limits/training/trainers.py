"""Which module trains by which objective; each is imported only where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_MODULES = {
    "ppo": "ppo",
    "grpo": "grouped",
    "rloo": "grouped",
    "dpo": "dpo",
    "best-of-n": "best_of_n",
    "exact": "exact",
}


def module_of(objective: str) -> str:
    """Name of the objective's module in this package."""
    return _MODULES[objective]


def trainer_of(objective: str) -> Callable[..., Any]:
    """The module's `trainer`: makes TRL's trainer from a `Task`."""
    # TRL imports whatever vLLM is installed, and fails at releases it does not know; nothing here samples through it
    known: Any = importlib.import_module("trl.import_utils")
    known.is_vllm_available = lambda *_, **__: False
    module: Any = importlib.import_module(f"alignment_limits.training.{module_of(objective)}")
    chosen: Callable[..., Any] = module.trainer
    return chosen

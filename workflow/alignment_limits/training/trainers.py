"""What trains by an objective; each module is imported only where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from alignment_limits.study.objectives import trainer


def trainer_of(settings: Mapping[str, Any]) -> Callable[..., Any]:
    """What makes TRL's trainer from a `Task`, by a run's objective, on rewards or on a study's pairs."""
    # TRL imports whatever vLLM is installed, and fails at releases it does not know; nothing here samples through it
    known: Any = importlib.import_module("trl.import_utils")
    known.is_vllm_available = lambda *_, **__: False
    module, function = trainer(settings["objective"], on_pairs="setting" in settings)
    chosen: Callable[..., Any] = getattr(importlib.import_module(f"alignment_limits.training.{module}"), function)
    return chosen

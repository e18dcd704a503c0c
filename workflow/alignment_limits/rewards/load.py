"""From a reward's settings to a reward model; each kind lives in a module of its own.

A kind's module is imported by name only when it is asked for, so that scoring with a lexicon never
imports torch, and an edit in one kind's module reruns that kind alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignment_limits.errors import ModelError, RewardError
from alignment_limits.rewards.base import RewardModel

_MODULES = {
    "keras-bilstm": "keras_bilstm",
    "sklearn": "sklearn_scorer",
    "onnx": "onnx_scorer",
    "embedding": "embedding",
    "sequence-classifier": "sequence_classifier",
    "lexicon": "lexicon",
    "similarity": "similarity",
    "rouge": "rouge",
    "information-gain": "information_gain",
    "length": "length",
    "guard": "guard",
    "python": "python_function",
}
_NOT_FOR_THE_MODEL = {"kind", "source", "note", "beside"}


def module_of(kind: str, function: str | None = None) -> str:
    """Dotted name of the module that scores; for kind python, given its `function`, the user's module.

    Raises:
        RewardError: no such kind.
    """
    if kind == "python" and function is not None:
        return function.partition(":")[0]
    if kind not in _MODULES:
        raise RewardError(f"there is no reward of kind '{kind}'; there are: {', '.join(_MODULES)}")
    return f"alignment_limits.rewards.{_MODULES[kind]}"


def load_reward(spec: Any, folder: Path | None, *, device: str = "cpu") -> RewardModel:
    """The reward model a study's `rewards.<name>` describes.

    Args:
        spec: the validated section (a model of `config.study`) or the same as a plain dict.
        folder: what its `source` held; None for rewards without one.
        device: torch device of the kinds that use torch.

    Raises:
        RewardError: a file is missing or unreadable, or a setting does not fit the model.
    """
    settings = dict(spec) if isinstance(spec, Mapping) else dict(spec.model_dump())
    module = importlib.import_module(module_of(settings["kind"]))
    if folder is not None:
        folder = Path(folder)
        if not folder.is_dir():
            raise RewardError(f"{folder} does not exist; run the rule that fetches the reward's source")
    arguments = {key: value for key, value in settings.items() if key not in _NOT_FOR_THE_MODEL}
    try:
        model: RewardModel = module.load(folder, device=device, **arguments)
    except ModelError as error:
        raise RewardError(str(error)) from error
    return model

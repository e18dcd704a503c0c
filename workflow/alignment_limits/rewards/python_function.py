"""A user's own reward: `function(prompts, replies, **columns, **options)` → one float per reply."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Prompt, Scores, untruncated


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    function: str,
    options: Mapping[str, Any] | None = None,
    columns: Sequence[str] = (),
) -> ItemReward:
    """A reward that calls the user's function with distinct (prompt, reply) pairs; `text` is not used.

    Args:
        columns: columns of the prompt file; each is passed by its name, as a list with one text (or None) per reply.

    Raises:
        RewardError: the function cannot be imported; when scoring: it raises, or returns something else
            than one real number per reply.
    """
    call = _imported(function)

    def items(prompts: Sequence[str], replies: Sequence[str]) -> list[Any]:
        return [
            (str(p), r, *(_column(p, name, function) for name in columns))
            for p, r in zip(prompts, replies, strict=True)
        ]

    def score_items(items: list[tuple[Any, ...]]) -> Scores:
        prompts, replies, *values = (list(column) for column in zip(*items, strict=True))
        given = dict(zip(columns, values, strict=True)) | dict(options or {})
        try:
            returned = call(prompts, replies, **given)
        except (Exception, SystemExit) as error:
            raise RewardError(f"{function} raised {type(error).__name__}: {error}{_place(error, call)}") from error
        return untruncated(_floats(returned, len(items), function))

    return ItemReward(items, score_items, sign, flat=True)


def _column(prompt: str, name: str, function: str) -> str | None:
    columns = prompt.columns if isinstance(prompt, Prompt) else {}
    if name not in columns:
        raise RewardError(
            f"{function} asks for the column '{name}' of the prompts, which have none here; the prompt file's further "
            f"columns are: {', '.join(columns) or 'none'}"
        )
    return columns[name]


def _imported(function: str) -> Callable[..., Any]:
    module_name, _, name = function.partition(":")
    if os.getcwd() not in sys.path:  # the project's folder; last, so that it shadows nothing
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module can raise any error
        raise RewardError(
            f"cannot import '{module_name}' of the reward function '{function}' "
            f"({type(error).__name__}: {error}); it is looked for in the folder "
            f"snakemake runs in and among installed packages{_place(error)}"
        ) from error
    call = getattr(module, name, None)
    if not callable(call):
        raise RewardError(f"module '{module_name}' ({module.__file__}) has no function '{name}'")
    return call


def _place(error: BaseException, call: Callable[..., Any] | None = None) -> str:
    """Where the user's code raised the error: file, line, function and source, on separate lines.

    This is the innermost frame in the project's folder or in the function's file. An error from inside a library
    belongs to the line that called the library.
    """
    ours = Path(__file__).parents[1]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not Path(f.filename).is_relative_to(ours)]
    own = getattr(getattr(call, "__code__", None), "co_filename", None)
    here = Path.cwd()

    def is_users(file: str) -> bool:
        path = Path(file)
        inside = path.is_relative_to(here) and not {"site-packages", ".venv"} & set(path.relative_to(here).parts)
        return file == own or inside

    users = [frame for frame in frames if is_users(frame.filename)]
    if not users:
        return ""
    frame = users[-1]
    file = Path(frame.filename)
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return f"\n  {shown}, line {frame.lineno}, in {frame.name}:\n    {frame.line}\n  (the log has the whole traceback)"


def _floats(returned: Any, count: int, function: str) -> np.ndarray:
    if hasattr(returned, "detach"):  # a torch tensor, possibly on a GPU or bfloat16
        returned = returned.detach().cpu().double().numpy()
    try:
        array = np.asarray(returned)
    except ValueError as error:
        raise RewardError(f"{function} must return one float per reply, not nested values: {error}") from error
    if array.shape != (count,):
        raise RewardError(f"{function} must return {count} floats for {count} replies, it returned shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise RewardError(f"{function} must return floats, it returned {array.dtype.name} values")
    return array.astype(np.float64)

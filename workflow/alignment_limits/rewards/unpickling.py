"""Reading other people's pickles without running their code: a short allow-list, everything else refused."""

from __future__ import annotations

import importlib
import io
import pickle
import struct
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from alignment_limits.errors import RewardError

Global = tuple[str, str]  # module, name


# What damaged pickles raise, beside UnpicklingError.
DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    ValueError,
    AttributeError,
    IndexError,
    TypeError,
    KeyError,
)


class Stub:
    """Stands for a class of a package we do not import; holds its attributes and does nothing."""


def find_global(
    module: str, name: str, path: str, allowed: Set[Global], stubs: Mapping[Global, type] | None = None
) -> Any:
    """The object a pickle asks for, if it is on the list.

    Raises:
        RewardError: it is not; nothing of it was imported.
    """
    if stubs and (module, name) in stubs:
        return stubs[module, name]
    if (module, name) in allowed:
        return getattr(importlib.import_module(module), name)
    raise RewardError(
        f"{path} asks for {module}.{name} on loading, which is not on this reward's allow-list; refused. "
        "If you trust the file, load it yourself in a reward of kind 'python'"
    )


def load_pickle(path: Path, allowed: Set[Global], stubs: Mapping[Global, type]) -> Any:
    """Read a pickle with an allow-list.

    Raises:
        RewardError: the file asks for anything else, or is no pickle.
    """

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return find_global(module, name, str(path), allowed, stubs)

    try:
        return Restricted(io.BytesIO(path.read_bytes())).load()
    except DAMAGED as error:
        raise RewardError(f"{path} cannot be unpickled ({error}); fetch its source again") from error

"""Read pickles from other people without running their code.

An allow-list states which classes a file may name; everything else is refused. This alone is not enough: NumPy's types
with a malicious state can read and write anywhere in memory. So dtypes and arrays are rebuilt here, from plain numbers
and texts only. A file is first read in a child process with limits of memory and time. If it crashes that process or
uses too much memory, it is refused.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import math
import os
import pickle
import re
import resource
import select
import signal
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from alignment_limits.errors import RewardError

Global = tuple[str, str]  # module, name
REMEDY = "fetch its source again, or write a reward of kind 'python' if you trust the file"
_PLAIN = re.compile(r"[<>=|]?([biufSU])(\d{1,9})")  # numbers and texts of a fixed length
_SECONDS = 300  # of CPU time to read a file in
_MEMORY = 2 * 2**30  # bytes for reading a small file; large files may use more
_STACK = 2**22  # bytes; less than a process has, so that a stack overflow happens in the child


class Refused(Exception):
    """A file contains something that is never read; `readable` adds the file's name to the message."""


class Stub:
    """Replaces a class of a package that we do not import; it only keeps the attributes."""


def find_global(
    module: str, name: str, path: str, allowed: Set[Global], stubs: Mapping[Global, Any] | None = None
) -> Any:
    """The object that a pickle asks for, if it is on the list.

    Raises:
        RewardError: it is not on the list; nothing was imported.
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
        RewardError: the file asks for other classes, or is not a pickle.
    """

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return find_global(module, name, str(path), allowed, stubs)

    return readable(path, lambda: Restricted(io.BytesIO(path.read_bytes())).load(), "unpickled")


def readable(path: Path, read: Callable[[], Any], what: str = "read", remedy: str = REMEDY) -> Any:
    """The result of `read` for a file; any error from a damaged file becomes one message.

    Raises:
        RewardError: the file cannot be read.
    """
    try:
        return read()
    except RewardError:
        raise
    except Refused as error:
        raise RewardError(f"{path} contains {error}; refused. {remedy}") from error
    except Exception as error:
        said = str(error).strip().splitlines()
        raise RewardError(
            f"{path} cannot be {what} ({type(error).__name__}{': ' + said[0][:200] if said else ''}); {remedy}"
        ) from error


def tried_in_a_child(path: Path, read: Callable[[], object], what: str = "read") -> None:
    """Test in a child process whether a file can be read without harm.

    Raises:
        RewardError: the child raises an error, crashes, or needs more memory or time than allowed for the file's size.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        said = b"it ended in the middle"
        try:
            os.close(reading)
            _limit(_MEMORY + 20 * path.stat().st_size)
            readable(path, read, what)
            said = b""
        except RewardError as error:
            said = str(error).encode(errors="replace")
        finally:
            with contextlib.suppress(BaseException):
                os.write(writing, said[:4000] or b"\0")
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], 2 * _SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if said and said != b"\0":
        raise RewardError(said.decode(errors="replace"))
    if os.WIFSIGNALED(status) or not said:
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "no answer"
        raise RewardError(f"{path} cannot be {what}: the process that tried it crashed ({name}); refused. {REMEDY}")


def _limit(memory: int) -> None:
    """Limit this process's further memory, CPU time and stack."""
    faulthandler.disable()
    for kind in (signal.SIGSEGV, signal.SIGTERM, signal.SIGINT, signal.SIGXCPU):
        signal.signal(kind, signal.SIG_DFL)
    has = 0
    with contextlib.suppress(OSError):
        has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    used = math.ceil(sum(os.times()[:2]))
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, used + _SECONDS),
        (resource.RLIMIT_STACK, _STACK),
        *([(resource.RLIMIT_AS, has + memory)] if has else []),
    ):
        with contextlib.suppress(OSError, ValueError):
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


class Array:
    """An array that a pickle has created but not filled yet."""


def plain_dtype(name: Any, *_: Any) -> np.dtype[Any]:
    """A dtype of numbers or texts.

    Raises:
        Refused: the dtype has Python objects, fields or dates.
    """
    match = _PLAIN.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise Refused(f"an array of Python objects or fields (dtype {name!r:.80})")
    return np.dtype(name)


def begin_array(*_: Any) -> Array:
    """The result of `numpy._reconstruct`: an array without a shape."""
    return Array()


def plain_scalar(dtype: Any, content: Any = b"") -> Any:
    """A NumPy number or text.

    Raises:
        Refused: the type or the number of bytes is wrong.
    """
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise Refused("a NumPy scalar that is not a plain number or text")
    return np.frombuffer(content, _plain(dtype))[0]


def _plain(dtype: Any) -> np.dtype[Any]:
    return plain_dtype(dtype.str if isinstance(dtype, np.dtype) and dtype.fields is None else dtype)


def filled(state: Any) -> np.ndarray[Any, Any]:
    """An array from its pickled state: version, shape, dtype, Fortran order or not, bytes.

    Raises:
        Refused: the bytes do not fill the shape, or are not plain numbers or texts.
    """
    match state:
        case (int(), tuple() as shape, np.dtype() as dtype, fortran, bytes() | bytearray() as content):
            plain = _plain(dtype)
            fits = all(isinstance(n, int) and n >= 0 for n in shape) and len(shape) <= 32
            if fits and math.prod(shape) * plain.itemsize == len(content) and plain.itemsize:
                return np.frombuffer(content, plain).reshape(shape, order="F" if fortran else "C").copy()
    raise Refused("an array of Python objects, or one that its content does not fill")


# the NumPy names that a pickle may use, and their replacements
PLAIN_NUMPY: Mapping[Global, Any] = {
    ("numpy", "dtype"): plain_dtype,
    ("numpy", "ndarray"): Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): begin_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): plain_scalar for core in ("core", "_core")},
}


class PlainBuild:
    """For unpicklers written in Python: states of dtypes and arrays are checked and set here, never by NumPy."""

    stack: list[Any]
    memo: dict[int, Any]

    def built(self) -> bool:
        """Apply the opcode BUILD to NumPy objects.

        Raises:
            Refused: the state does not belong to a plain dtype or array, or the object is not an instance.
        """
        state, begun = self.stack[-1], self.stack[-2]
        if isinstance(begun, type) or (not hasattr(type(begun), "__dict__") and callable(begun)):
            raise Refused("a state for a class or function")
        if isinstance(begun, Array):
            done: Any = filled(state)
        elif isinstance(begun, np.dtype):
            done = _with_state(begun, state)
        else:
            return False
        self.stack.pop()
        self.stack[-1] = done
        for key, value in self.memo.items():
            if value is begun:
                self.memo[key] = done
        return True


def _with_state(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """A dtype in the byte order of its pickled state; the rest of the state must be that of a plain dtype."""
    match state:
        case (3 | 4, "<" | ">" | "|" | "=" as order, None, None, None, int(size), int(alignment), int(flags), *_) if (
            size in (-1, dtype.itemsize) and alignment in (-1, dtype.alignment) and flags in (0, 8)
        ):
            return dtype if order in "|=" else dtype.newbyteorder(order)
    raise Refused(f"a dtype with fields or a state that is not {dtype}'s")

"""A second process for a part of a command's work, where there is a second core and enough to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")
ENOUGH = 10_000  # scores; a process takes a second to start


@contextlib.contextmanager
def second_process(work: int) -> Iterator[Callable[..., Future[Any]]]:
    """How to start a function of the library that another process computes, or this one if that is as fast.

    Args:
        work: number of scores.

    Example:
        >>> with second_process(10) as start:
        ...     start(max, 1, 2).result()
        2
    """
    if work < ENOUGH or len(os.sched_getaffinity(0)) < 2:
        yield _here
        return
    # not a fork: Polars has started threads
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool.submit


def _here(function: Callable[..., T], *arguments: Any, **settings: Any) -> Future[T]:
    done: Future[T] = Future()
    try:
        done.set_result(function(*arguments, **settings))
    except Exception as error:  # raised where the result is asked for, as of another process
        done.set_exception(error)
    return done

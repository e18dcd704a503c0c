"""A second process for a part of a command: the same results and errors as here."""

import os

import polars as pl
import pytest

from alignment_limits.commands.processes import ENOUGH, second_process
from alignment_limits.errors import EstimateError
from alignment_limits.limits import frontier


@pytest.mark.parametrize("work", [1, ENOUGH])
def test_results_and_errors_are_those_of_the_function(work):
    scores = [[0.0, 1, 2, 5] * 8] * 20
    with second_process(work) as start:
        made, refused = start(frontier, scores, kls=[0.1]), start(frontier, [[1.0, 2]], kls=[-1.0])
        other = start(os.getpid)
        assert made.result().to_polars().equals(frontier(scores, kls=[0.1]).to_polars(), null_equal=True)
        assert isinstance(made.result().to_polars(), pl.DataFrame)
        with pytest.raises(EstimateError):
            refused.result()
    cores = len(os.sched_getaffinity(0))
    assert (other.result() != os.getpid()) == (work >= ENOUGH and cores > 1)

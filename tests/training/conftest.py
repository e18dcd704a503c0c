"""Worlds to train in, and a run from a task's settings to its curves and its folder."""

import pytest
from worlds import World

from alignment_limits.training.run import train


@pytest.fixture(scope="module")
def one_token(tiny_model):
    """Replies of one token: everything is known exactly."""
    return World(tiny_model, 1)


@pytest.fixture(scope="module")
def world(tiny_model):
    return World(tiny_model, 6)


@pytest.fixture
def run(tmp_path):
    def run(world, name="policy", every=1e9, stamp="stamp", **settings):
        (tmp_path / "scratch").mkdir(exist_ok=True)
        task = world.task(tmp_path / "scratch", **settings)
        rows = train(task, tmp_path / name, tmp_path / f"{name}.pt", stamp, every)
        return rows, tmp_path / name

    return run

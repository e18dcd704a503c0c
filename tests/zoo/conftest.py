"""The zoo on disk, each checkpoint made once a session."""

import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """name → folder of that checkpoint; another seed gives other weights."""
    from zoo import build

    root = tmp_path_factory.mktemp("zoo")
    return functools.cache(lambda name, seed=0: build(name, root / f"{name}-{seed}", seed))

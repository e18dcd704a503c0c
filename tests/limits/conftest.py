"""A table of scores that several test files read."""

import numpy as np
import polars as pl
import pytest


@pytest.fixture
def table() -> pl.DataFrame:
    """60 prompts of 20 to 49 samples."""
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 50, 60)
    r = rng.standard_normal(counts.sum())
    return pl.DataFrame(
        {
            "prompt_id": np.repeat([f"p{i:03d}" for i in range(60)], counts),
            "sample_id": np.concatenate([np.arange(c) for c in counts]).astype(np.int32),
            "rm": r,
            "human": 0.5 * r + rng.standard_normal(len(r)),
        }
    )

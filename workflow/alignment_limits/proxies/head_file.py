"""The file of a linear head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from alignment_limits.damage import reading
from alignment_limits.errors import RewardError


def read_head(file: Path) -> dict[str, NDArray[np.float64]]:
    """A head's arrays: weight [d] and bias [1].

    Raises:
        RewardError: the file is damaged, or no head.
    """
    with reading(file, RewardError, "delete it and run again"):
        fitted = load_file(file)
        _ = fitted["weight"], fitted["bias"][0]
    return fitted

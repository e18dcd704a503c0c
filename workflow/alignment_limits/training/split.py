"""Which prompts a policy is trained on; it is judged on these and, apart, on the others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def trained_on(prompt_ids: Sequence[str], share: float) -> NDArray[np.bool_]:
    """The prompts of a study that its policies are trained on.

    They are the first in the order of the hashes of their ids. So the choice depends on no seed, a larger share
    contains a smaller one, and all recipes with one share are trained on the same prompts.

    Args:
        prompt_ids: of the study.
        share: of them to train on, above 0 and up to 1; at least one prompt, rounded to the nearest number.

    Returns:
        True for the prompts to train on [p].

    Example:
        >>> ids = [f"p{i}" for i in range(8)]
        >>> half, more = trained_on(ids, 0.5), trained_on(ids, 0.75)
        >>> int(half.sum()), int(more.sum()), bool((half <= more).all())
        (4, 6, True)
    """
    order = sorted(range(len(prompt_ids)), key=lambda i: hashlib.sha256(prompt_ids[i].encode()).digest())
    out = np.zeros(len(prompt_ids), dtype=bool)
    out[order[: max(1, round(share * len(prompt_ids)))]] = True
    return out

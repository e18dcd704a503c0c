"""Theoretical limits of language-model alignment.

`read` takes a table of scores to arrays. The estimators are in `alignment_limits.limits`. Nothing is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from alignment_limits.tables.arrays import ScoreArrays


def read(
    file: str | Path, rewards: Sequence[str] | None = None, *, cluster: str | None = None, standardised: bool = True
) -> ScoreArrays:
    """Scores in a table as arrays.

    Args:
        file, rewards, cluster, standardised: as for `tables.arrays.read_arrays`.

    Returns:
        One array (prompts, samples) per reward, and what the estimators use of the prompts.

    Raises:
        TableError: the file cannot be used, with the column and the row.

    Example:
        >>> with open("one.csv", "w") as file:
        ...     _ = file.write("prompt_id,sample_id,rm\\na,0,1\\na,1,3\\n")
        >>> read("one.csv", standardised=False)["rm"]
        array([[1., 3.]])
    """
    from alignment_limits.tables.arrays import read_arrays  # polars, only where it is used

    return read_arrays(file, rewards, cluster=cluster, standardised=standardised)

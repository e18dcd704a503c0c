"""A study whose replies can all be listed."""

from __future__ import annotations

from pydantic import Field

from alignment_limits.config.base import Strict


class Enumerable(Strict):
    """Exact values of everything, beside the estimates; for models with few tokens and short replies."""

    population: int = Field(
        ge=1,
        le=10_000_000,
        description="how many prompts of the source stand for all there are: intervals speak of those, so exact "
        "values are given for them too",
    )

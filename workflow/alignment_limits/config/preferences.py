"""Preference pairs among a study's own samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alignment_limits.config.base import Strict, UserPath
from alignment_limits.config.learning import check_levels
from alignment_limits.config.source import Source

PairSetting = Literal[
    "as-modelled",
    "label-noise",
    "ties-flipped",
    "ties-dropped",
    "context-effects",
    "annotator-bias",
    "tempered-pairs",
    "best-of-n-pairs",
]

# settings whose pairs' replies do not follow the base's law
NOT_OF_THE_BASE = ("ties-dropped", "tempered-pairs", "best-of-n-pairs")


class Preferences(Strict):
    """Pairs of samples judged as the target, or one reward, would; a table for each setting."""

    reward: str | None = Field(
        None, description="Bradley-Terry on this reward; without it, the target: gold's tilt of the base"
    )
    beta: float = Field(1, gt=0, description="of the tilt that is the target; gold is in units of its spread")
    gamma: float = Field(0.1, gt=0, description="P = sigma(gamma log pi*(a)/pi*(b)), or sigma(gamma (r(a) - r(b)))")
    table: UserPath | None = Field(
        None, description="a user's own pairs, a table with prompt_id, chosen_id, rejected_id, beside those made"
    )
    prior_sd: float = Field(1, gt=0, description="s.d. of the normal prior on rewards fitted to the pairs")
    pairs_per_prompt: int = Field(32, ge=1, le=1_000_000)
    settings: dict[PairSetting, list[Annotated[float, Field(ge=0)]]] = Field(
        {"as-modelled": [0]}, min_length=1, description="what the pairs depart from the model in, and how far"
    )

    features: Source | None = Field(
        None, description="a mean-pooled transformers encoder: what rewards fitted for training on see of a reply"
    )
    text: Literal["reply", "prompt+reply"] = Field("prompt+reply", description="what the encoder reads")

    @model_validator(mode="after")
    def _possible(self) -> Preferences:
        check_levels(self.settings)
        return self

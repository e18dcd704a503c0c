"""Proxy rewards of chosen quality, trained on gold labels of prompts that the study does not use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from alignment_limits.config.base import Strict
from alignment_limits.config.source import Source

Loss = Literal["regression", "bradley-terry"]


class Sweep(Strict):
    """Proxies of every quality and ensembles of every size, from one set of features."""

    features: Source = Field(description="a mean-pooled transformers encoder")
    text: Literal["reply", "prompt+reply"] = Field("reply", description="what it reads")
    labels: list[Annotated[int, Field(ge=5, le=10_000_000)]] = Field(
        [20, 50, 100, 200, 500, 1000, 2000], min_length=1, max_length=100, description="labels of each member"
    )
    members: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        [1, 2, 4, 8, 16], min_length=1, max_length=100, description="ensemble sizes"
    )
    aggregators: list[Literal["mean", "median", "minimum", "mean-variance"]] = Field(
        ["mean", "median", "minimum", "mean-variance"], min_length=1
    )
    noise: float = Field(0.0, ge=0, description="of labels, in gold's within-prompt spreads")
    loss: Loss = "regression"
    dimensions: float = Field(0.5, gt=0, le=1, description="share of the features a member of an ensemble uses")
    ensemble_labels: int = Field(200, ge=5, description="labels of each member of the ensembles")

    @field_validator("labels", "members")
    @classmethod
    def _increasing(cls, v: list[int]) -> list[int]:
        if len(set(v)) != len(v):
            raise ValueError("values are repeated")
        return sorted(v)


class GoldLabels(Strict):
    """Where gold labels come from: base samples of further prompts, behind the study's own."""

    prompts: int = Field(
        ge=1, le=10_000_000, description="how many, after the study's; none of the study's is among them"
    )
    samples_per_prompt: int = Field(ge=2, le=1_000_000, description="a multiple of sampling.block")
    sweep: Sweep | None = None

"""Settings of labels by gold of further prompts, and of proxies of chosen quality that are trained on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from alignment_limits.study.base import Source, Strict

Loss = Literal["regression", "bradley-terry"]


class Sweep(Strict):
    """Proxies of many qualities and ensembles of many sizes, from one set of features."""

    features: Source = Field(description="a mean-pooled transformers encoder")
    text: Literal["reply", "prompt+reply"] = Field("reply", description="text that the features describe")
    labels: list[Annotated[int, Field(ge=5, le=10_000_000)]] = Field(
        [20, 50, 100, 200, 500, 1000, 2000], min_length=1, max_length=100, description="labels of each member"
    )
    members: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        [1, 2, 4, 8, 16], min_length=1, max_length=100, description="sizes of ensembles"
    )
    aggregators: list[Literal["mean", "median", "minimum", "mean-variance"]] = Field(
        ["mean", "median", "minimum", "mean-variance"], min_length=1
    )
    noise: float = Field(0.0, ge=0, description="noise of labels, in units of gold's within-prompt spread")
    loss: Loss = "regression"
    dimensions: float = Field(0.5, gt=0, le=1, description="share of the features that a member of an ensemble uses")
    ensemble_labels: int = Field(200, ge=5, description="labels of each member of the ensembles")

    @field_validator("labels", "members")
    @classmethod
    def _increasing(cls, v: list[int]) -> list[int]:
        if len(set(v)) != len(v):
            raise ValueError("values are repeated")
        return sorted(v)


class GoldLabels(Strict):
    """Gold labels: base samples of further prompts after the study's own, scored by gold."""

    prompts: int = Field(
        ge=1, le=10_000_000, description="number of further prompts, after those of the study; no prompt is in both"
    )
    samples_per_prompt: int = Field(ge=2, le=1_000_000, description="a multiple of sampling.block")
    sweep: Sweep | None = None

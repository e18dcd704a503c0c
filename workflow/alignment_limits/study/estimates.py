"""The estimators' grids, scores made elsewhere, worlds whose replies can be listed, and how figures look."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from alignment_limits.study.base import Label, Strict, UserPath


class Limits(Strict):
    """The estimators."""

    betas: list[Annotated[float, Field(gt=0)]] = Field(
        [8, 4, 2, 1.5, 1, 0.75, 0.5, 0.35, 0.25, 0.18, 0.12],
        min_length=1,
        max_length=200,
        description="tilts π₀·exp(r/β) to tabulate; r is in units of its spread on base samples",
    )
    kls: list[Annotated[float, Field(gt=0)]] = Field(
        [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0],
        min_length=1,
        max_length=200,
        description="KL budgets in nats at which the bias-corrected frontier is tabulated and drawn",
    )
    best_of: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 2, 4, 8, 16, 32, 64],
        min_length=1,
        max_length=200,
        description="n of best-of-n; its relatives use those from 2 to a quarter of the samples",
    )
    soft_temperatures: list[Annotated[float, Field(gt=0)]] = Field(
        [0.5, 1],
        max_length=50,
        description="soft best-of-n: n draws, one picked by softmax(r/temperature); r in units of its spread",
    )
    pessimism_betas: list[Annotated[float, Field(gt=0)]] = Field(
        [4, 2, 1, 0.5],
        max_length=50,
        description="chi-squared pessimism: weights relu((r - lambda)/beta); r in units of its spread",
    )
    ensemble_betas: list[Annotated[float, Field(gt=0)]] = Field(
        [2, 1, 0.5],
        min_length=1,
        max_length=50,
        description="tilts at which every subset of the proxies is tried as an ensemble",
    )
    reference_kl: float = Field(1.0, gt=0, description="KL in nats at which ensembles are compared")
    half_width: float = Field(
        0.05, gt=0, lt=1, description="for `make plan`: the interval wanted, ± this share of the limit"
    )
    bootstrap: int = Field(2000, ge=200, le=1_000_000, description="replicates over prompts behind every interval")

    @field_validator("betas", "kls", "best_of", "soft_temperatures", "pessimism_betas", "ensemble_betas")
    @classmethod
    def _no_repeats(cls, v: list[float]) -> list[float]:
        if len(set(v)) != len(v):
            raise ValueError("values are repeated")
        return sorted(v)


class Figures(Strict):
    """How figures look; never touches a number."""

    width_inches: float = Field(3.4, gt=1, le=12, description="3.4: a column; 7: a page")
    font_size: float = Field(8, gt=3, le=20)
    palette: str = Field("colorblind", description="a seaborn palette")


class Report(Strict):
    show_samples: bool = Field(
        False,
        description="put generated text (it can be offensive) into the report, escaped, behind a warning",
    )


class Scores(Strict):
    """A study that starts at a table of scores: nothing is sampled, no model is loaded."""

    table: UserPath = Field(
        description="Parquet, CSV, TSV, JSONL or JSON with prompt_id, sample_id and one column per reward"
    )
    gold: Label = Field(description="the column taken as the truth")
    proxies: list[Label] = Field([], description="the columns of the other rewards")

    cluster: str | None = Field(
        None,
        description="the column that says which prompts are not independent, such as the template that made them "
        "(default: a column called cluster, if there is one)",
    )

    @model_validator(mode="after")
    def _different(self) -> Scores:
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError(f"gold and proxies must be different columns, not {', '.join(names)}")
        return self

    @property
    def names(self) -> list[str]:
        return [self.gold, *self.proxies]


class Enumerable(Strict):
    """Exact values of everything, beside the estimates; for models with few tokens and short replies."""

    population: int = Field(
        ge=1,
        le=10_000_000,
        description="how many prompts of the source stand for all there are: intervals speak of those, so exact "
        "values are given for them too",
    )

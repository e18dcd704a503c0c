"""Scores made elsewhere."""

from __future__ import annotations

from pydantic import Field, model_validator

from alignment_limits.config.base import Label, Strict, UserPath


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

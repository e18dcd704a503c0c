"""Policies brought along: checkpoints and adapters to be placed beside the limit."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from alignment_limits.config.base import Label, UserPath
from alignment_limits.config.source import Source


class Policy(Source):
    """A language model made from the base, and where it comes from: one of `path`, `hub`, `package`, `adapter`.

    A folder with config.json and safetensors is a model of its own, one with adapter_config.json an adapter
    (PEFT) on the study's base model. The labels are only carried into the table.
    """

    name: Label = Field(description="name of the policy; its samples lie in policies/<name>")
    adapter: UserPath | None = Field(
        None, description="a PEFT adapter on the study's base: a local folder, or with `revision` a hub repository"
    )
    revision: str | None = Field(None, description="the hub repository's 40-digit commit, if not part of `hub`")
    kind: Literal["model"] = Field("model", description="a hub repository of models")
    objective: str | None = Field(None, description="how it was trained (ppo, dpo, …); a label")
    optimized: str | None = Field(None, description="the reward or ensemble it was trained on; a label")
    coefficient: float | None = Field(None, description="the KL coefficient it was trained with; a label")
    seed: int | None = Field(None, description="the seed it was trained with; a label")

    @model_validator(mode="before")
    @classmethod
    def _one_pinned_source(cls, data: Any) -> Any:
        """`adapter` and `revision` are other words for `path` and `hub`."""
        if not isinstance(data, dict):
            return data
        adapter, revision = data.get("adapter"), data.get("revision")
        if adapter:
            if given := [key for key in ("package", "hub", "path") if data.get(key)]:
                raise ValueError(f"`adapter` says where it comes from; leave out {', '.join(given)}")
            data = data | {"hub" if revision else "path": adapter}
        if revision:
            if not data.get("hub"):
                raise ValueError("revision is the commit of a hub repository; paths and packages have none")
            repository, _, commit = str(data["hub"]).partition("@")
            if commit not in ("", revision):
                raise ValueError(f"hub says '{commit}', revision '{revision}'; give one of them")
            data = data | {"hub": f"{repository}@{revision}"}
        return data

    @property
    def source(self) -> Source:
        """Where it comes from, without its name and labels: two policies from one place are fetched once."""
        return Source(**{key: getattr(self, key) for key in Source.model_fields})

    @property
    def labels(self) -> dict[str, Any]:
        """What the table says of its training."""
        return {key: getattr(self, key) for key in ("objective", "optimized", "coefficient", "seed")}

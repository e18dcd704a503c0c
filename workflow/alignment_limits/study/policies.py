"""Settings of existing policies, and of laws to sample that need no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from alignment_limits.study.base import Label, Source, Strict, UserPath


class Policy(Source):
    """A language model trained from the base, and its source: one of `path`, `hub`, `package`, `adapter`.

    A folder with config.json and safetensors is a full model. A folder with adapter_config.json is an adapter (PEFT)
    on the study's base model. The labels are only copied to the table.
    """

    name: Label = Field(description="name of the policy and of the folder of its samples, policies/<name>")
    adapter: UserPath | None = Field(
        None,
        description="a PEFT adapter for the study's base model: a local folder, or with `revision` a hub repository",
    )
    revision: str | None = Field(
        None, description="the 40-digit commit of the hub repository, if `hub` does not include it"
    )
    kind: Literal["model"] = Field("model", description="a hub repository of models")
    objective: str | None = Field(None, description="label: how it was trained (ppo, dpo, …)")
    optimized: str | None = Field(None, description="label: the reward or ensemble it was trained on")
    coefficient: float | None = Field(None, description="label: the KL coefficient it was trained with")
    seed: int | None = Field(None, description="label: the seed it was trained with")

    @model_validator(mode="before")
    @classmethod
    def _one_pinned_source(cls, data: Any) -> Any:
        """`adapter` and `revision` are other names for `path` and the commit of `hub`."""
        if not isinstance(data, dict):
            return data
        adapter, revision = data.get("adapter"), data.get("revision")
        if adapter:
            if given := [key for key in ("package", "hub", "path") if data.get(key)]:
                raise ValueError(f"`adapter` is already the source; leave out {', '.join(given)}")
            data = data | {"hub" if revision else "path": adapter}
        if revision:
            if not data.get("hub"):
                raise ValueError("revision is the commit of a hub repository; paths and packages have none")
            repository, _, commit = str(data["hub"]).partition("@")
            if commit not in ("", revision):
                raise ValueError(f"hub names the commit '{commit}', revision is '{revision}'; give only one of them")
            data = data | {"hub": f"{repository}@{revision}"}
        return data

    @property
    def source(self) -> Source:
        """Its source without name and labels: two policies with one source are fetched once."""
        return Source(**{key: getattr(self, key) for key in Source.model_fields})

    @property
    def labels(self) -> dict[str, Any]:
        """Its labels in the table: how it was trained."""
        return {key: getattr(self, key) for key in ("objective", "optimized", "coefficient", "seed")}


class Proposal(Strict):
    """A law to sample that needs no training: one or more of `temperature`, `top_p`, `system`, `adapter`."""

    temperature: float | None = Field(None, gt=0, description="the base model at another temperature")
    top_p: float | None = Field(
        None, gt=0, lt=1, description="another nucleus: after the temperature, unlikely tokens are left out"
    )
    system: str | None = Field(None, description="the base model under this system message (prompts.template: chat)")
    adapter: UserPath | None = Field(
        None, description="a PEFT adapter for the base model, a local folder or with `revision` a hub repository"
    )
    revision: str | None = Field(None, description="the 40-digit commit of the adapter's hub repository")
    scale: float = Field(1, description="the adapter's change of the weights is multiplied by this number")

    @model_validator(mode="after")
    def _one_law(self) -> Proposal:
        if not self.given:
            raise ValueError("give one or more of temperature, top_p, system, adapter")
        if self.adapter is None and (self.revision or self.scale != 1):
            raise ValueError("revision and scale are of an adapter; leave them out")
        _ = self.source  # checked here
        return self

    @property
    def given(self) -> dict[str, Any]:
        """What differs from the base."""
        return self.model_dump(include={"temperature", "top_p", "system", "adapter"}, exclude_none=True)

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides the law."""
        return self.model_dump(exclude={"top_p"} if self.top_p is None else None)

    @property
    def source(self) -> Source | None:
        """The adapter's source."""
        given = {"name": "adapter", "adapter": self.adapter, "revision": self.revision}
        return Policy.model_validate(given).source if self.adapter else None


@dataclass(frozen=True)
class Proposed:
    """A proposal and its name: a policy without training."""

    name: str
    proposal: Proposal
    optimized: None = None

    @property
    def source(self) -> Source | None:
        return self.proposal.source

    @property
    def adapter(self) -> UserPath | None:
        return self.proposal.adapter

    @property
    def labels(self) -> dict[str, Any]:
        """Its labels in the table."""
        p = self.proposal
        law = {"temperature": f"temperature {p.temperature or 0:g}", "top_p": f"top-p {p.top_p or 0:g}"}
        said = [f"adapter × {p.scale:g}" if p.adapter else "base"]
        said += [" at " + " and ".join(words for key, words in law.items() if key in p.given)] * bool(
            law.keys() & p.given
        )
        said += [" under a system message"] * (p.system is not None)
        return {"objective": "".join(said), "optimized": None, "coefficient": None, "seed": None}

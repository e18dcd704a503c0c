"""The study file as types. Unknown keys and impossible values are refused, with the key's path.

Every model forbids extra keys. Field descriptions become the editor's completion through
`config/schema.json` (`make schema`), and that file is tested against this module.
"""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from alignment_limits.config.appearance import Figures, Report
from alignment_limits.config.base import Name, Strict
from alignment_limits.config.limits import Limits
from alignment_limits.config.rewards import Ensemble, Reward
from alignment_limits.config.sampling import Model, Prompts, Sampling


class Study(Strict):
    """A whole study."""

    study: Name = Field(description="name of the study; its results lie in results/<study>")
    seed: int = Field(0, ge=0, lt=2**31)
    model: Model
    prompts: Prompts
    sampling: Sampling
    gold: str = Field(description="the reward taken as the truth")
    rewards: dict[Name, Reward] = Field(min_length=1)
    ensembles: dict[Name, Ensemble] = Field({}, description="rewards made of rewards")
    limits: Limits = Limits()  # type: ignore[call-arg]
    figures: Figures = Figures()  # type: ignore[call-arg]
    report: Report = Report()  # type: ignore[call-arg]

    @field_validator("study")
    @classmethod
    def _not_reserved(cls, v: str) -> str:
        if v == "models":
            raise ValueError("'models' is the folder shared by all studies; choose another name")
        return v

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        def known(name: str, where: str) -> None:
            if name not in self.rewards:
                raise ValueError(f"{where} names the reward '{name}'; there are: {', '.join(self.rewards)}")

        known(self.gold, "gold")
        for name, ensemble in self.ensembles.items():
            if name in self.rewards:
                raise ValueError(f"'{name}' is the name of a reward and of an ensemble")
            for member in ensemble.members:
                known(member, f"ensembles.{name}.members")
            if len(set(ensemble.members)) != len(ensemble.members):
                raise ValueError(f"ensembles.{name}.members names a reward twice")
        worst = max(self.limits.best_of)
        if worst > self.sampling.samples_per_prompt:
            raise ValueError(
                f"limits.best_of asks for n={worst}, but there are only "
                f"{self.sampling.samples_per_prompt} samples per prompt"
            )
        return self

    @property
    def proxies(self) -> list[str]:
        """Names of all rewards but gold, in the file's order."""
        return [name for name in self.rewards if name != self.gold]

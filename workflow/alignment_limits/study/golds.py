"""Settings of several golds at once and of other divergences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from alignment_limits.study.base import Label, Strict


class Constraint(Strict):
    """The limit of a reward for policies that change another one by at most a given amount."""

    optimized: Label | None = Field(None, description="the reward that is optimised; null: gold")
    reward: Label = Field(description="the reward that must not rise, such as one of harm")
    at_most: list[float] = Field(
        [0.0],
        min_length=1,
        max_length=20,
        description="largest changes of its mean from the base model that are allowed; 0: no more than the base has",
    )
    units: Literal["base-sd", "own"] = Field(
        "base-sd", description="of at_most: spreads on base samples, or the reward's own units"
    )


_TAKEN = ("weighted sum", "worst of all")  # in the column `evaluated` of tradeoffs/golds and compromises


class Golds(Strict):
    """Several golds at once: their Pareto front, the worst of them, and a limit under a constraint."""

    of: list[Label] | None = Field(
        None, min_length=2, max_length=4, description="2 to 4 rewards or ensembles whose Pareto front is drawn"
    )
    kls: list[Annotated[float, Field(gt=0)]] = Field(
        [0.25, 0.5, 1.0, 1.5, 2.0], min_length=1, max_length=20, description="KLs of the fronts, in nats"
    )
    best_of: list[Annotated[int, Field(ge=1)]] = Field(
        [4, 16], max_length=20, description="n of best-of-n by each weighted sum; n beyond the samples are left out"
    )
    worst: bool = Field(True, description="also the largest gain that a policy can have in every gold of `of`")
    constraint: Constraint | None = Field(None, description="also the limit of a reward under a constraint on another")

    @model_validator(mode="after")
    def _something(self) -> Golds:
        if not self.of and not self.constraint:
            raise ValueError("golds: give `of` (2 to 4 rewards), `constraint`, or both")
        if self.of and len(set(self.of)) < len(self.of):
            raise ValueError(f"golds.of names a reward twice: {', '.join(self.of)}; remove one")
        if taken := [name for _, name in self.named if name in _TAKEN]:
            raise ValueError(f"golds: '{taken[0]}' is what the tables call a combination of golds; rename this reward")
        if self.constraint and self.constraint.optimized == self.constraint.reward:
            raise ValueError(f"golds.constraint: '{self.constraint.reward}' cannot be optimised and constrained")
        return self

    @property
    def named(self) -> list[tuple[str, str]]:
        """The rewards and ensembles that are named, and where."""
        named = [("golds.of", name) for name in self.of or []]
        if self.constraint:
            named += [("golds.constraint.reward", self.constraint.reward)]
            named += [("golds.constraint.optimized", name) for name in [self.constraint.optimized] if name]
        return named


KIND = r"^(chi2|reverse-kl|total-variation|renyi-(inf|[0-9]*\.?[0-9]*[1-9][0-9]*(\.[0-9]*)?))$"


class Divergences(Strict):
    """Limits within budgets of other divergences than KL."""

    of: list[Label] | None = Field(None, min_length=1, description="rewards or ensembles; null: gold")
    kinds: list[Annotated[str, Field(pattern=KIND)]] = Field(
        ["chi2", "renyi-0.5", "renyi-inf", "total-variation"],
        min_length=1,
        max_length=12,
        description="chi2, reverse-kl, total-variation, or renyi-A of an order A above 0 (renyi-inf: log of the "
        "largest ratio of probabilities)",
    )
    best_of: list[Annotated[int, Field(ge=2)]] = Field(
        [2, 4, 8, 16], min_length=1, max_length=20, description="budgets: what best-of-n spends in each divergence"
    )

    @field_validator("kinds", "best_of")
    @classmethod
    def _no_repeats(cls, v: list[Any]) -> list[Any]:
        if len(set(v)) != len(v):
            raise ValueError("values are repeated")
        return v

    @property
    def named(self) -> list[tuple[str, str]]:
        """The rewards and ensembles that are named, and where."""
        return [("divergences.of", name) for name in self.of or []]

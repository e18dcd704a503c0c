"""Recipes by which policies are trained, and the runs they make: one policy per reward (or set of preference pairs),
coefficient and seed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from alignment_limits.config.base import Strict
from alignment_limits.config.preferences import PairSetting

MOST_RUNS = 1000  # of one recipe
ONLINE = ("ppo", "grpo", "rloo", "reverse-kl", "rlhf")  # draw replies from the policy while they train it
GROUPED = ("grpo", "rloo", "reverse-kl", "rlhf")  # of these, those that compare replies to one prompt
OF_PREFERENCES = ("pmle", "distillation", "ipo", "rebel", "reverse-kl", "rlhf")  # learn from pairs only; dpo may
FITTED = ("distillation", "rebel", "reverse-kl", "rlhf")  # fit a reward to the pairs first
UNREGULARISED = ("pmle", "distillation", "reverse-kl")  # have a target without a KL penalty
ESTIMATE_KL = ("pmle", "distillation")  # estimate the penalty on the pairs' own replies


class Lora(Strict):
    """A low-rank adapter on all linear layers of the base's last blocks."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16, gt=0, description="the adapter's change is scaled by alpha / rank")
    layers: int | None = Field(None, ge=1, description="how many of the last blocks get one; default: all")


class Recipe(Strict):
    """How policies are trained; each (reward or set of pairs, coefficient, seed) is one job and one policy."""

    objective: Literal[
        "ppo", "grpo", "rloo", "dpo", "best-of-n", "exact", "pmle", "distillation", "ipo", "rebel", "reverse-kl", "rlhf"
    ] = Field(
        description="best-of-n: supervised fine-tuning on best-of-n picks of the base's samples; exact: L-BFGS on the "
        "objective summed over all replies, for a study with `enumerable:`; the last six learn from preference pairs"
    )
    optimize: list[str] | None = Field(
        None, min_length=1, description="rewards or ensembles, each optimised by runs of its own"
    )
    learn_from: list[PairSetting] | None = Field(
        None,
        min_length=1,
        description="instead: settings of `preferences:` whose pairs are learned from, at the first level",
    )
    pairs: list[Annotated[int, Field(ge=5)]] | None = Field(
        None, min_length=1, description="how many pairs a run learns from; every seed has pairs of its own"
    )
    coefficients: list[float] = Field(
        min_length=1,
        description="KL coefficients β of E r − β·KL, r in base standard deviations; for best-of-n: n; for what learns "
        "from preferences: β of the objective (ipo: τ)",
    )
    seeds: list[int] = Field([0], min_length=1)
    steps: int = Field(
        ge=1, le=10_000_000, description="batches of replies (of pairs, for dpo), each drawn and then trained on"
    )
    batch: int = Field(32, ge=2, le=1_000_000, description="replies (pairs, for dpo) of one step")
    group: int | None = Field(
        None, ge=2, description="replies to one prompt in a batch, for grpo and rloo, which compare them; default 8"
    )
    epochs: int = Field(1, ge=1, description="passes of the optimiser over each batch")
    learning_rate: float = Field(1e-4, gt=0, description="of AdamW, constant")
    lora: Lora | None = Field(Lora(), description="null: all weights are trained")  # type: ignore[call-arg]
    kl_every: int = Field(
        1,
        ge=1,
        description="steps between KLs in the training curves; each costs two forward passes (what learns from pairs "
        "without drawing replies draws some for the curves at these steps only)",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the base's weights in training; bfloat16 only under an adapter, which is float32"
    )

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if (self.optimize is None) == (self.learn_from is None):
            raise ValueError("give exactly one of optimize (rewards) and learn_from (settings of `preferences:`)")
        if (self.learn_from is None) != (self.pairs is None):
            raise ValueError("learn_from and pairs go together: which pairs, and how many")
        if self.learn_from is None and self.objective in OF_PREFERENCES:
            raise ValueError(f"{self.objective} learns from preference pairs: give learn_from and pairs, not optimize")
        if self.learn_from is not None and self.objective not in (*OF_PREFERENCES, "dpo"):
            raise ValueError(f"{self.objective} learns from no pairs: give optimize, or another objective")
        if self.objective in GROUPED and self.batch % self.replies_per_prompt:
            raise ValueError(f"batch ({self.batch}) must be a multiple of group ({self.replies_per_prompt})")
        if self.objective not in GROUPED and self.group:
            raise ValueError(f"group is for {', '.join(GROUPED)}; {self.objective} compares no replies: leave it out")
        if self.objective not in ONLINE and self.epochs > 1:
            raise ValueError(f"epochs is for {', '.join(ONLINE)}; for {self.objective} more steps do the same")
        if self.dtype == "bfloat16" and self.lora is None:
            raise ValueError("dtype bfloat16 rounds away small steps of full weights; use lora, or float32")
        lists = [self.optimize or self.learn_from, self.pairs, self.coefficients, self.seeds]
        if (runs := math.prod(len(given) for given in lists if given)) > MOST_RUNS:
            raise ValueError(f"these lists make {runs} runs, each a policy; at most {MOST_RUNS} can be planned")
        for name in ("optimize", "learn_from", "pairs", "coefficients", "seeds"):
            values = getattr(self, name) or []
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names a value twice")
        if min(self.coefficients) < 0 or (0 in self.coefficients and self.objective not in UNREGULARISED):
            raise ValueError(
                "coefficients must be positive: without a KL penalty there is no limit to compare with "
                f"(0 is for {', '.join(UNREGULARISED)})"
            )
        if self.objective == "best-of-n" and any(n != int(n) or n < 2 for n in self.coefficients):
            raise ValueError("for best-of-n, coefficients are numbers of replies: whole, at least 2")
        if min(self.seeds) < 0 or max(self.seeds) >= 2**31:
            raise ValueError("seeds lie between 0 and 2^31")
        return self

    @property
    def replies_per_prompt(self) -> int:
        """Replies to one prompt in a batch."""
        return (self.group or 8) if self.objective in GROUPED else 1

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides a run's weights, apart from its reward or pairs, coefficient and seed."""
        apart = {"optimize", "learn_from", "pairs", "coefficients", "seeds", "group"}
        return self.model_dump(exclude=apart) | {"group": self.replies_per_prompt}

    def runs(self, name: str, judge: str) -> list[Run]:
        """Every run of the recipe called `name`; pairs were judged by the reward `judge`, or by its tilt."""
        seeds = (self.coefficients, self.seeds)
        if self.optimize is not None:
            return [Run(name, self, *labels) for labels in itertools.product(self.optimize, *seeds)]
        chosen = itertools.product(self.learn_from or [], self.pairs or [], *seeds)
        return [Run(name, self, judge, beta, seed, setting, pairs) for setting, pairs, beta, seed in chosen]


@dataclass(frozen=True)
class Run:
    """One training run, and the policy it makes; has a policy's name and labels, but no source.

    setting, pairs : of the preference pairs that it learns from; None where it is given a reward.
    """

    recipe_name: str
    recipe: Recipe
    optimized: str
    coefficient: float
    seed: int
    setting: PairSetting | None = None
    pairs: int | None = None

    @property
    def subject(self) -> str:
        """What it learns from: a reward, or so many pairs of a setting."""
        return f"{self.setting}-n{self.pairs}" if self.setting else self.optimized

    @property
    def name(self) -> str:
        """Name of the policy."""
        return f"{self.recipe_name}-{self.subject}-{self.coefficient:g}-s{self.seed}"

    @property
    def curve(self) -> str:
        """Name of the curves that it is drawn among."""
        return f"{self.recipe_name}-{self.subject}"

    @property
    def objective(self) -> str:
        return self.recipe.objective

    @property
    def labels(self) -> dict[str, Any]:
        """What the tables say of its training; a coefficient is that of E r − β·KL, which no pairs' objective is."""
        shown = {key: getattr(self, key) for key in ("objective", "optimized", "coefficient", "seed")}
        return shown | ({"coefficient": None} if self.setting else {})

    @property
    def settings(self) -> dict[str, Any]:
        """All that its job is told."""
        pairs = {"setting": self.setting, "pairs": self.pairs} if self.setting else {}
        return self.recipe.deciding | {"coefficient": self.coefficient, "seed": self.seed} | pairs

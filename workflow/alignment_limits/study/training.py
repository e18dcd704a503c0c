"""Settings of preference pairs and of training; the runs of each recipe.

A recipe has one run per reward (or set of preference pairs), coefficient and seed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from alignment_limits.study.base import Source, Strict, UserPath
from alignment_limits.study.estimates import check_levels
from alignment_limits.study.objectives import OBJECTIVES, Trained, those
from alignment_limits.study.sampling import Prompts, Sampling

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
    """Pairs of samples judged by the target or by one reward; one table for each setting."""

    reward: str | None = Field(
        None,
        description="Bradley-Terry preferences by this reward; default: by the target, gold's tilt of the base",
    )
    beta: float = Field(1, gt=0, description="temperature of the target tilt; gold is in units of its spread")
    gamma: float = Field(0.1, gt=0, description="P = sigma(gamma log pi*(a)/pi*(b)), or sigma(gamma (r(a) - r(b)))")
    table: UserPath | None = Field(
        None, description="your own pairs, in addition: a table with prompt_id, chosen_id, rejected_id"
    )
    prior_sd: float = Field(
        1, gt=0, description="standard deviation of the normal prior on rewards that are fitted to the pairs"
    )
    pairs_per_prompt: int = Field(32, ge=1, le=1_000_000)
    settings: dict[PairSetting, list[Annotated[float, Field(ge=0)]]] = Field(
        {"as-modelled": [0]},
        min_length=1,
        description="departures of the pairs from the preference model, and their levels",
    )

    features: Source | None = Field(
        None, description="a mean-pooled transformers encoder, whose features the rewards fitted for training use"
    )
    text: Literal["reply", "prompt+reply"] = Field("prompt+reply", description="text that the encoder reads")

    @model_validator(mode="after")
    def _possible(self) -> Preferences:
        check_levels(self.settings)
        return self


MOST_RUNS = 1000  # per recipe


class Lora(Strict):
    """A low-rank adapter on all linear layers of the base's last blocks."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16, gt=0, description="the adapter's change is scaled by alpha / rank")
    layers: int | None = Field(None, ge=1, description="number of last blocks with an adapter; default: all")


Rate = Annotated[float, Field(gt=0)]
FEWEST_POINTS = 4  # measured KLs in a window of the stopping rule


class Stop(Strict):
    """Stop when reward − β·KL no longer rises beyond its noise (docs/training.md, "Training to convergence")."""

    patience: int = Field(
        50,
        ge=FEWEST_POINTS,
        description="steps of the shortest window that is compared with the one before, and steps without a rise",
    )


class Recipe(Strict):
    """A recipe of training; each (reward or set of pairs, coefficient, seed) is one job and one policy."""

    objective: Trained = Field(
        description="tilt, best-of-n: supervised fine-tuning on base samples chosen with the tilt's weights, by "
        "best-of-n; expert-iteration: the same by steps, on the policy's own replies; exact: L-BFGS on the "
        "objective summed over all replies, for a study with `enumerable:`; the last six learn from preference pairs"
    )
    optimize: list[str] | None = Field(
        None, min_length=1, description="rewards or ensembles; each is optimised by separate runs"
    )
    learn_from: list[PairSetting] | None = Field(
        None,
        min_length=1,
        description="instead of rewards: settings of `preferences:`, with the pairs at the first level",
    )
    pairs: list[Annotated[int, Field(ge=5)]] | None = Field(
        None, min_length=1, description="number of pairs per run; every seed has its own pairs"
    )
    coefficients: list[float] = Field(
        min_length=1,
        description="KL coefficients β of E r − β·KL, r in base standard deviations; for best-of-n and "
        "expert-iteration: n; for what learns from preferences: β of the objective (ipo: τ)",
    )
    seeds: list[int] = Field([0], min_length=1)
    steps: int = Field(
        ge=1, le=10_000_000, description="number of batches of replies (for dpo: of pairs); with `stop` the maximum"
    )
    stop: Stop | None = Field(None, description="train until convergence, up to `steps`; null: exactly `steps`")
    batch: int = Field(32, ge=2, le=1_000_000, description="replies (for dpo: pairs) per step")
    group: int | None = Field(
        None,
        ge=2,
        description="for grpo and rloo: replies to one prompt in a batch, which are compared; default 8 "
        "(expert-iteration: its coefficient)",
    )
    epochs: int = Field(1, ge=1, description="passes over each batch")
    learning_rate: Rate | list[Rate] = Field(
        1e-4,
        description="constant learning rate of AdamW; several: one is chosen for each reward by a recorded sweep on "
        "the prompts that are trained on",
    )
    train_on: float = Field(
        1, gt=0, le=1, description="share of the study's prompts that are trained on; policies are judged on both parts"
    )
    lora: Lora | None = Field(Lora(), description="null: all weights are trained")  # type: ignore[call-arg]
    kl_every: int = Field(
        1,
        ge=1,
        description="steps between KLs in the training curves; each costs two forward passes (what learns from pairs "
        "without drawing replies draws some for the curves at these steps only)",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision of the base's weights in training; bfloat16 only with an adapter, which stays float32",
    )

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if (self.optimize is None) == (self.learn_from is None):
            raise ValueError("give exactly one of optimize (rewards) and learn_from (settings of `preferences:`)")
        if (self.learn_from is None) != (self.pairs is None):
            raise ValueError("learn_from and pairs go together: give the setting and the number of pairs")
        if self.learn_from is None and not OBJECTIVES[self.objective].on_rewards:
            raise ValueError(f"{self.objective} learns from preference pairs: give learn_from and pairs, not optimize")
        if self.learn_from is not None and not OBJECTIVES[self.objective].on_pairs:
            raise ValueError(f"{self.objective} does not learn from pairs: give optimize, or another objective")
        for group in self._groups:
            if self.batch % group:
                raise ValueError(f"batch ({self.batch}) must be a multiple of group ({group})")
        compared = [name for name in those("grouped") if not OBJECTIVES[name].counts]
        if self.objective not in compared and self.group:
            raise ValueError(
                f"group is for {', '.join(compared)}; {self.objective} does not compare replies: leave it out"
                if not OBJECTIVES[self.objective].grouped
                else f"group is the coefficient of {self.objective}: leave it out"
            )
        if not OBJECTIVES[self.objective].online and self.epochs > 1:
            raise ValueError(f"epochs is for {', '.join(those('online'))}; for {self.objective} use more steps instead")
        if self.dtype == "bfloat16" and self.lora is None:
            raise ValueError("dtype bfloat16 rounds away small steps of full weights; use lora, or float32")
        lists = [self.optimize or self.learn_from, self.pairs, self.coefficients, self.seeds]
        if (runs := math.prod(len(given) for given in lists if given)) > MOST_RUNS:
            raise ValueError(f"these lists give {runs} runs, each with one policy; at most {MOST_RUNS} can be planned")
        for name in ("optimize", "learn_from", "pairs", "coefficients", "seeds"):
            values = getattr(self, name) or []
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names a value twice")
        if min(self.coefficients) < 0 or (0 in self.coefficients and not OBJECTIVES[self.objective].unregularised):
            raise ValueError(
                "coefficients must be positive: without a KL penalty there is no limit to compare with "
                f"(0 is for {', '.join(those('unregularised'))})"
            )
        if OBJECTIVES[self.objective].counts and any(n != int(n) or n < 2 for n in self.coefficients):
            raise ValueError(f"for {self.objective}, coefficients are numbers of replies: whole numbers, at least 2")
        self._stoppable()
        self._sweepable()
        if min(self.seeds) < 0 or max(self.seeds) >= 2**31:
            raise ValueError("seeds must be from 0 to 2^31")
        return self

    def _stoppable(self) -> None:
        if self.stop is None:
            return
        if self.learn_from is not None or not OBJECTIVES[self.objective].penalised:
            raise ValueError(
                f"stop compares reward − β·KL, which is the objective of {', '.join(those('penalised'))} on rewards; "
                "leave it out"
            )
        if self.stop.patience < FEWEST_POINTS * self.kl_every:
            raise ValueError(
                f"stop.patience ({self.stop.patience}) must be at least {FEWEST_POINTS} times kl_every "
                f"({self.kl_every}), so that a window has {FEWEST_POINTS} measured KLs"
            )
        if self.steps < 3 * self.stop.patience:
            raise ValueError(
                f"steps ({self.steps}) must be at least 3 times stop.patience ({self.stop.patience}): no run "
                "stops earlier"
            )

    def _sweepable(self) -> None:
        if self.train_on < 1 and self.learn_from is not None:
            raise ValueError("train_on is for rewards; pairs are of all prompts: leave it out")
        if not isinstance(self.learning_rate, list):
            return
        if self.learn_from is not None or not OBJECTIVES[self.objective].penalised:
            raise ValueError(
                "several learning rates are compared by reward − β·KL, which is the objective of "
                f"{', '.join(those('penalised'))} on rewards; give one"
            )
        if len(set(self.learning_rate)) != len(self.learning_rate) or len(self.learning_rate) < 2:
            raise ValueError("learning_rate: give one, or several different ones")
        if self.train_on == 1:
            raise ValueError("several learning rates need train_on below 1: they are not chosen on prompts that judge")

    @property
    def replies_per_prompt(self) -> int:
        """Replies to one prompt in a batch."""
        return (self.group or 8) if OBJECTIVES[self.objective].grouped else 1

    @property
    def _groups(self) -> list[int]:
        """Numbers of replies to a prompt that a batch must be a multiple of."""
        own = OBJECTIVES[self.objective]
        if not own.grouped:
            return []
        return [int(n) for n in self.coefficients if n >= 2] if own.counts else [self.replies_per_prompt]

    @property
    def deciding(self) -> dict[str, Any]:
        """Settings that decide a run's weights, without its reward or pairs, coefficient and seed."""
        apart = {"optimize", "learn_from", "pairs", "coefficients", "seeds", "group"}
        # as before there were such settings
        apart |= {name for name, plain in (("stop", None), ("train_on", 1)) if getattr(self, name) == plain}
        return self.model_dump(exclude=apart) | {"group": self.replies_per_prompt}

    def runs(self, name: str, judge: str) -> list[Run]:
        """All runs of the recipe `name`; its pairs were judged by the reward `judge`, or by its tilt."""
        seeds = (self.coefficients, self.seeds)
        if self.optimize is not None:
            return [Run(name, self, *labels) for labels in itertools.product(self.optimize, *seeds)]
        chosen = itertools.product(self.learn_from or [], self.pairs or [], *seeds)
        return [Run(name, self, judge, beta, seed, setting, pairs) for setting, pairs, beta, seed in chosen]

    def sweeps(self, name: str) -> list[Sweep]:
        """A sweep for each reward, if there are several rates: each at the middle coefficient, with a new seed."""
        rates = self.learning_rate if isinstance(self.learning_rate, list) else []
        beta, seed = sorted(self.coefficients)[len(self.coefficients) // 2], max(self.seeds) + 1
        at = {rate: self.model_copy(update={"learning_rate": rate}) for rate in sorted(rates)}
        return [
            Sweep(name, reward, [Run(f"{name}-rate-{r:g}", one, reward, beta, seed) for r, one in at.items()])
            for reward in self.optimize or []
            if at
        ]


@dataclass(frozen=True)
class Run:
    """One training run and its policy; it has a policy's name and labels, but no source.

    setting, pairs : of the preference pairs that it learns from; None for a run on a reward.
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
        """What it learns from: a reward, or a number of pairs of a setting."""
        return f"{self.setting}-n{self.pairs}" if self.setting else self.optimized

    @property
    def name(self) -> str:
        """Name of the policy."""
        return f"{self.recipe_name}-{self.subject}-{self.coefficient:g}-s{self.seed}"

    @property
    def has_beta(self) -> bool:
        """Whether its coefficient is the β of E r − β·KL on a reward."""
        return self.setting is None and not OBJECTIVES[self.objective].counts

    @property
    def network(self) -> str:
        """What its weights are, and the share of prompts that they are trained on; exact training has all weights."""
        lora = None if self.objective == "exact" else self.recipe.lora
        named = f"lora {lora.rank}/{lora.alpha:g}/{lora.layers or 'all'}" if lora else "all weights"
        return f"{named}, prompts × {self.recipe.train_on:g}"

    @property
    def curve(self) -> str:
        """Name of the file of curves that contains it."""
        return f"{self.recipe_name}-{self.subject}"

    @property
    def objective(self) -> str:
        return self.recipe.objective

    @property
    def labels(self) -> dict[str, Any]:
        """Its labels in the tables; the coefficient is that of E r − β·KL, so objectives on pairs have none."""
        shown = {key: getattr(self, key) for key in ("objective", "optimized", "coefficient", "seed")}
        return shown | ({"coefficient": None} if self.setting else {})

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of its job."""
        pairs = {"setting": self.setting, "pairs": self.pairs} if self.setting else {}
        own = OBJECTIVES[self.objective]
        group = {"group": int(self.coefficient)} if own.grouped and own.counts else {}
        return self.recipe.deciding | {"coefficient": self.coefficient, "seed": self.seed} | pairs | group


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in their learning rate, to choose that of a recipe's runs on one reward."""

    recipe_name: str
    optimized: str
    runs: list[Run]


def check_split(where: str, recipe: Recipe, prompts: Prompts | None) -> None:
    """Refuse a recipe that trains on all prompts or on none, although a part is asked for.

    Raises:
        ValueError: names the recipe's key and what to change.
    """
    if recipe.train_on == 1:
        return
    if prompts is None:
        raise ValueError(f"{where}.train_on needs a study with `prompts:`")
    if not 1 <= round(recipe.train_on * prompts.count) < prompts.count:
        raise ValueError(
            f"{where}.train_on: {recipe.train_on:g} of {prompts.count} prompts leaves none to train on, or "
            "none to judge by"
        )


def check_learnable(
    where: str, recipe: Recipe, made: Preferences | None, prompts: Prompts | None, sampling: Sampling
) -> None:
    """Refuse a recipe whose pairs do not exist, or do not fit its objective.

    Raises:
        ValueError: names the recipe's key and what to change.
    """
    if made is None or prompts is None:
        raise ValueError(f"{where}.learn_from: the study has no `preferences:` to learn from")
    named = recipe.learn_from or []
    lacking = [setting for setting in named if setting not in made.settings]
    if lacking:
        raise ValueError(
            f"{where}.learn_from names '{lacking[0]}', but preferences.settings has: {', '.join(made.settings)}"
        )
    there, seeds, most = prompts.count * made.pairs_per_prompt, max(recipe.seeds) + 1, max(recipe.pairs or [0])
    if seeds * most > there:
        raise ValueError(
            f"{where}.pairs: {most} for each of the seeds 0 to {seeds - 1} are {seeds * most} pairs, but there are "
            f"{there} ({prompts.count} prompts with preferences.pairs_per_prompt: {made.pairs_per_prompt})"
        )
    if sampling.temperature != 1 or sampling.top_p < 1:
        raise ValueError(f"{where}.learn_from needs sampling.temperature: 1 and sampling.top_p: 1")
    if OBJECTIVES[recipe.objective].fits_reward and made.features is None:
        raise ValueError(f"{where}: {recipe.objective} fits a reward; give its encoder in preferences.features")
    other = [setting for setting in named if setting in NOT_OF_THE_BASE]
    if other and OBJECTIVES[recipe.objective].estimates_kl and max(recipe.coefficients) > 0:
        raise ValueError(
            f"{where}: {recipe.objective} estimates its KL on the pairs' replies, and those of {other[0]} do not "
            "follow the base's law: set coefficients: [0]"
        )


def learned_from(run: Run, made: Preferences | None) -> dict[str, Any] | None:
    """Settings that decide a run's pairs and the reward fitted to them; None for a run without pairs."""
    if made is None or run.setting is None:
        return None
    kept = {"reward", "beta", "gamma", "pairs_per_prompt"}
    kept |= {"features", "text"} if OBJECTIVES[run.objective].fits_reward else set()
    return made.model_dump(include=kept) | {"level": made.settings[run.setting][0]}

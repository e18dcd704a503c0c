"""Settings of the base model, of prompts and documents, and of sampling; and shards, the unit of sampling.

A block is `block` samples of one prompt drawn from one seed. A shard is one block of a chunk of prompts.
Seeds depend only on the study's seed, the prompt and the block. The size of a chunk does not depend on the number of
prompts or samples. So a larger study keeps its shards, and the layout changes no sample.
A chunk is named by its first and one-past-last prompt, so shards of one name contain the same keys in every study.
Its size is a power of two, as the number of prompts often is. Then no chunk is incomplete, and more prompts only add
chunks (an incomplete chunk is sampled again at its new length).
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from alignment_limits.models.tokenizer import DATE
from alignment_limits.study.base import Endpoint, Label, PromptCount, Source, Strict

# written by this project
_TAKEN = {"messages", "system", "add_generation_prompt", "date_string", "strftime_now", "tokenize", "return_dict"}


def _free(variables: dict[str, Any]) -> dict[str, Any]:
    for name in variables:
        if name == "system":
            raise ValueError("the system message is `system`, next to `chat`")
        if name in _TAKEN or not name.isidentifier():
            raise ValueError(f"'{name}' cannot be set; `chat` is for further variables of the template")
    return variables


ChatVariables = Annotated[dict[str, bool | int | float | str], AfterValidator(_free)]


class Model(Strict):
    """The base language model π₀."""

    name: Label = Field(description="name of the model and of the folder of its samples")
    source: Source
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="precision of sampling, which is part of the base model"
    )
    trust_remote_code: bool = Field(False, description="run code that comes with the model; read it first")
    context: int | None = Field(
        None,
        ge=2,
        description="maximum number of tokens of prompt and reply; default: the model's own (required for models "
        "without position embeddings, such as BLOOM)",
    )
    kl_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="precision of the models' bodies where log-probabilities of replies are read again, for KL; heads "
        "are float32",
    )
    tensor_parallel: int = Field(
        1, ge=1, le=64, description="GPUs of one sampling job, which share the model; for a model too large for one"
    )
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="share of a GPU's memory that vLLM uses; default: vLLM's own"
    )
    batch_invariant: bool = Field(
        False,
        description="on a GPU: vLLM's kernels whose results do not depend on the other replies of a batch; slower",
    )

    # where and how the model runs changes its samples by rounding only
    placement: ClassVar = {"context", "kl_dtype", "tensor_parallel", "gpu_memory_utilization"}

    @property
    def decides_nothing(self) -> set[str]:
        """Keys that do not change the law of the samples."""
        return {"name", *self.placement} | (set() if self.batch_invariant else {"batch_invariant"})

    def settings(self) -> dict[str, Any]:
        """Settings of a job that loads the model; of `placement` only the context."""
        return self.model_dump(exclude=self.decides_nothing - {"name", "context"} | {"source"})

    @classmethod
    def placed(cls, settings: dict[str, Any], study: dict[str, Any], folder: str) -> Model:
        """The model of a job: its settings, `placement` as the study file has it today, and its folder."""
        given = study.get("model") or {}
        here = {key: given[key] for key in cls.placement if key in given}
        return cls.model_validate(here | settings | {"source": {"path": folder}})


class Prompts(Strict):
    """The prompts, and how the model reads them."""

    source: Source
    count: PromptCount = Field(
        64, description="number of prompts; a larger number keeps the first ones; null: all prompts of a local source"
    )
    template: Literal["none", "chat"] = Field(
        "none",
        description="'none': the model continues the text; 'chat': the text goes through the model's chat template",
    )
    system: str | None = Field(
        None,
        description="for template chat: the system message of prompts without one; null: none, although a template "
        "may then write its own; '': an empty one",
    )
    chat: ChatVariables = Field(
        {},
        description="for template chat: variables of the model's chat template, such as {enable_thinking: false}",
    )
    date: str = Field(
        DATE,
        description="the date for chat templates that print today's date, of the base model (template: chat) and of "
        "rewards; the default is the fallback of Llama's templates",
    )
    text_column: str = Field("text", description="column with the prompt, in tables (Parquet, CSV, JSONL)")
    stratify_by: str | None = Field(
        "category",
        description="column whose values are represented evenly ('category': the file name); null: choose at random",
    )

    @model_validator(mode="after")
    def _system_needs_turns(self) -> Prompts:
        if self.system is not None and self.template != "chat":
            raise ValueError("system is for template: chat; other prompts have no system message: leave it out")
        if self.chat and self.template != "chat":
            raise ValueError("chat is for template: chat; other prompts have no template: leave it out")
        return self

    @field_validator("date", mode="before")
    @classmethod
    def _one_day(cls, v: Any) -> str:
        try:
            return datetime.date.fromisoformat(str(v)).isoformat()
        except ValueError as error:
            raise ValueError(f"date is a day such as {DATE}, not {v!r}") from error

    @property
    def decides_nothing(self) -> set[str]:
        """Keys that do not change a prompt: their number, and settings that only a chat template uses."""
        return (
            {"count"}
            | ({"system"} if self.system is None else set())
            | (set() if self.chat else {"chat"})
            | (set() if self.template == "chat" else {"date"})
        )


class Sampling(Strict):
    """How the base model is sampled."""

    # these change no sample
    how_many: ClassVar = {"samples_per_prompt", "policy_samples_per_prompt", "shard_tokens", "endpoint"}

    engine: Literal["vllm", "transformers", "endpoint"] = Field(
        "vllm", description="endpoint: a server that already runs the model"
    )
    endpoint: Endpoint | None = Field(None, description="for engine: endpoint")
    samples_per_prompt: int = Field(64, ge=2, le=1_000_000, description="M; estimates reach about ½·log M nats")
    policy_samples_per_prompt: int | None = Field(
        None,
        ge=2,
        le=1_000_000,
        description="samples of each policy; default: as many as of the base model, which must also show the limit",
    )
    max_new_tokens: int = Field(20, ge=1, le=1_000_000)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    block: int = Field(
        32,
        ge=1,
        description="samples drawn from one seed; a change samples everything again",
    )
    shard_tokens: int = Field(50_000, ge=1, description="new tokens per shard; a killed job loses at most these")

    @model_validator(mode="after")
    def _whole_blocks(self) -> Sampling:
        if (self.engine == "endpoint") != (self.endpoint is not None):
            raise ValueError("engine: endpoint and endpoint: {url: …} belong together; give both or none")
        for key in ("samples_per_prompt", "policy_samples_per_prompt"):
            if (given := getattr(self, key)) and given % self.block:
                above = (given // self.block + 1) * self.block
                raise ValueError(f"{key} ({given}) must be a multiple of block ({self.block}), for example {above}")
        return self


class Documents(Strict):
    """Settings for a `prompts.source` with documents instead of prompts (Parquet, CSV, JSONL or JSON).

    A nested column is named with dots (`sentences.abstract`). A list of texts is joined with spaces.
    """

    text: str = Field(description="column with the document")
    references: list[str] = Field(min_length=1, description="columns with experts' replies, one text per column")
    instruction: str = Field(description="the prompt, with {document} at the place of the document")
    id: str | None = Field(None, description="column with a unique id; default: file and row")
    category: str | None = Field(None, description="column whose values are represented evenly; default: the file")
    max_words: int | None = Field(
        None, ge=1, description="longer documents are left out, to limit the cost or fit the context"
    )

    @field_validator("instruction")
    @classmethod
    def _has_a_place(cls, v: str) -> str:
        if v.count("{document}") != 1:
            raise ValueError("must contain {document} once, at the document's place")
        return v


def block_seed(study_seed: int, prompt_id: str, block: int) -> int:
    """63-bit seed of one block of one prompt; prompts with equal seeds would share their noise."""
    digest = hashlib.sha256(f"{study_seed}/{prompt_id}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def chunk_size(shard_tokens: int, block: int, max_new_tokens: int) -> int:
    """Prompts per shard: the largest power of two with at most `shard_tokens` new tokens per shard."""
    most = max(1, shard_tokens // (block * max_new_tokens))
    return int(2 ** (most.bit_length() - 1))


def chunk_names(n_prompts: int, size: int, first: int = 0) -> list[str]:
    """Chunks of `n_prompts` prompts after the first ones.

    Example:
        >>> chunk_names(40, 16)
        ['p00000-00016', 'p00016-00032', 'p00032-00040']
    """
    end = first + n_prompts
    return [f"p{i:05d}-{min(i + size, end):05d}" for i in range(first, end, size)]


def block_names(samples_per_prompt: int, block: int) -> list[str]:
    """Names of all blocks of samples of a prompt.

    Example:
        >>> block_names(48, 16)
        ['b00000', 'b00001', 'b00002']
    """
    return [f"b{i:05d}" for i in range(samples_per_prompt // block)]


def chunk_range(chunk: str) -> tuple[int, int]:
    """First and one-past-last prompt of a chunk."""
    first, end = chunk[1:].split("-")
    return int(first), int(end)

"""Settings of rewards that judge a reply: guard models, language models as judges, verifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, computed_field, field_validator, model_validator

from alignment_limits.study.base import Endpoint, Label, RewardBase, Source, Strict


class Guard(RewardBase):
    """A guard model: a causal language model that judges whether a reply is safe; log-odds of its answer."""

    neural: ClassVar[bool] = True
    kind: Literal["guard"]
    source: Source
    safe: str = Field("safe", min_length=1, description="the answer for a good reply; its first token counts")
    unsafe: str = Field("unsafe", min_length=1, description="the answer for a bad reply; its first token counts")
    lead: str = Field("", description="text that the model writes before its answer; two line ends for Llama Guard")
    wording: str | None = Field(
        None, description="the question with {prompt} and {reply}; default: the model's chat template"
    )
    max_length: int | None = Field(None, ge=8, description="tokens; default: the model's context")
    dtype: Literal["float32", "bfloat16"] = "float32"
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _places(self) -> Guard:
        if self.wording is not None and "{reply}" not in self.wording:
            raise ValueError("wording must contain {reply}, and {prompt} if the guard reads the prompt, too")
        return self

    @property
    def templated(self) -> bool:
        return self.wording is None


class Judge(RewardBase):
    """A language model that judges a reply by a rubric: the expectation of its answer, over all answers' probabilities.

    With `{first}` and `{second}` in place of `{reply}` in the rubric, the judge compares the reply with another text,
    in both orders.
    """

    # a server's address decides no score, its model does
    decides_nothing: ClassVar[Any] = {
        "note": True,
        "bounds": True,
        "gpu": True,
        "endpoint": {"url", "concurrency", "retries", "timeout", "key"},
    }

    kind: Literal["judge"]
    source: Source | None = None
    endpoint: Endpoint | None = Field(
        None, description="a server of the judge in place of `source`; its `model` names the judge"
    )
    rubric: str = Field(
        description="the question, with {prompt} and {reply}, and columns of the prompt file in braces; or with "
        "{first} and {second} to compare the reply with the column `against`"
    )
    answers: dict[str, float] = Field(
        min_length=2,
        max_length=100,
        description="the answers that the rubric asks for, and their values; in a comparison the values if the first "
        "text is the reply",
    )
    against: str | None = Field(
        None, description="for a comparison: the column of the prompt file with the other text; `reference` is one"
    )
    template: Literal["chat", "none"] = Field(
        "chat", description="'chat' asks in the model's chat template; 'none' lets it continue the rubric"
    )
    lead: str = Field("", description="text that the model writes before its answer")
    least_mass: float = Field(
        0.5, ge=0, lt=1, description="the judge has not answered where the answers' probabilities add up to less"
    )
    most_failed: float = Field(
        0.05, ge=0, le=1, description="the reward is refused if a larger share of replies has no answer of the judge"
    )
    max_length: int | None = Field(None, ge=8, description="tokens; default: the model's context")
    dtype: Literal["float32", "bfloat16"] = "float32"
    trust_remote_code: bool = False

    @property
    def neural(self) -> bool:  # type: ignore[override]
        return self.source is not None

    @property
    def places(self) -> list[str]:
        """What the rubric asks to fill in, in order."""
        return list(dict.fromkeys(re.findall(r"\{(\w+)\}", self.rubric)))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def columns(self) -> list[str]:
        """Columns of the prompt file that the judge reads."""
        named = [place for place in self.places if place not in ("prompt", "reply", "first", "second")]
        return [*named, *([self.against] if self.against and self.against not in named else [])]

    @property
    def templated(self) -> bool:
        return self.source is not None and self.template == "chat"

    @model_validator(mode="after")
    def _possible(self) -> Judge:
        both = {"first", "second"} & set(self.places)
        if self.against is None and ("reply" not in self.places or both):
            raise ValueError("rubric must contain {reply}; {first} and {second} are for a comparison with `against`")
        if self.against is not None and (len(both) < 2 or "reply" in self.places):
            raise ValueError("rubric must contain {first} and {second}, and not {reply}, if the judge compares")
        if (self.source is None) == (self.endpoint is None):
            raise ValueError("a judge needs either a `source` or an `endpoint`")
        if self.endpoint and not self.endpoint.model:
            raise ValueError("endpoint.model is missing; it names the judge, whatever its address")
        if self.endpoint and (self.lead or self.template != "chat" or self.max_length):
            raise ValueError("lead, template and max_length are for a `source`; a server has its own template")
        if self.endpoint and (inside := [a for a in self.answers for b in self.answers if a != b and b.startswith(a)]):
            raise ValueError(
                f"answer '{inside[0]}' is the beginning of another one, and a server shows the first token only; use "
                "answers with different beginnings, such as letters"
            )
        if len(set(self.answers.values())) < 2:
            raise ValueError("answers all have the same value, so every reply would have the same score")
        return self


class Program(Strict):
    """A program that checks one reply in a process of its own; its limits are those of the kernel."""

    command: list[str] = Field(
        min_length=1,
        max_length=50,
        description="the program and its arguments; a word that names a file of `source` is replaced by its path, "
        "`python` is the Python of this workflow",
    )
    seconds: float = Field(10.0, gt=0, le=3600, description="of a processor for one reply; four times as long by clock")
    memory_mb: int = Field(2048, ge=16, description="address space of each of its processes, in MB")
    output_kb: int = Field(64, ge=1, description="of each file that it writes, its output among them, in kB")
    network: bool = Field(False, description="true: the program may use the network, as any other program")


class Verifier(RewardBase):
    """A check of the reply against the right answer of its prompt: 1 where it passes, else 0."""

    kind: Literal["verifier"]
    match: Literal["exact", "number", "math", "pattern", "program"] = Field(
        "exact",
        description="exact: the same text; number: the same number; math: equal in mathematics (math-verify); pattern: "
        "a regular expression is found; program: your own program decides",
    )
    answer: Label | None = Field(
        "reference", description="column of the prompt file with the right answer; null: there is none"
    )
    several: Literal["lines", "list"] | None = Field(
        None, description="how the column writes several right answers: one a line, or as a list; null: it has one"
    )
    extract: str | None = Field(
        None,
        max_length=1000,
        description="the answer within a reply: 'boxed' (the last \\boxed{…}), 'last-line', or a regular expression, "
        "of whose last match the first group counts; null: the complete reply, for number its last number",
    )
    ignore: list[Literal["space", "case", "punctuation"]] = Field(
        ["space"], description="for exact: differences that do not count; space: at the ends, and its amount between"
    )
    tolerance: float = Field(
        0.0, ge=0, description="for number: allowed difference as a share of the right answer; of 0: as it is"
    )
    pattern: str | None = Field(
        None, max_length=1000, description="for pattern: a regular expression; {answer} is the text of the right answer"
    )
    program: Program | None = Field(None, description="for program: its command and its limits")
    source: Source | None = Field(None, description="for program: a file or folder with the program")
    most_failed: float = Field(
        1.0, ge=0, le=1, description="the reward is refused if a larger share of replies has no answer"
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def columns(self) -> list[str]:
        """Columns of the prompt file that it reads."""
        return [self.answer] if self.answer is not None and (self.pattern is None or self.names_answer) else []

    @property
    def names_answer(self) -> bool:
        """Whether the pattern contains the right answer."""
        return self.pattern is not None and "{answer}" in self.pattern

    @property
    def has_answers(self) -> bool:
        """Whether it finds the answer of a reply, so that replies can vote."""
        return self.match != "pattern" or self.extract is not None

    @property
    def light(self) -> bool:  # type: ignore[override]
        return self.match in ("exact", "number", "pattern")

    @field_validator("extract", "pattern")
    @classmethod
    def _expression(cls, v: str | None) -> str | None:
        try:
            re.compile((v or "").replace("{answer}", ""))
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return v

    @model_validator(mode="before")
    @classmethod
    def _own_bounds(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {"bounds": [-1.0, 0.0] if data.get("sign") == -1 else [0.0, 1.0], **data}

    @model_validator(mode="after")
    def _possible(self) -> Verifier:
        if self.bounds != ([-1.0, 0.0] if self.sign == -1 else [0.0, 1.0]):
            raise ValueError("bounds of a verifier are always [0, 1] ([-1, 0] with sign: -1); leave them out")
        for key in ("pattern", "program"):
            if (getattr(self, key) is not None) != (self.match == key):
                raise ValueError(f"`match: {key}` and `{key}:` belong together; give both or none")
        if self.source and not self.program:
            raise ValueError("source is for `match: program`; leave it out")
        if self.program and (self.extract or self.several):
            raise ValueError("extract and several are not for `match: program`, which gets the reply and the column")
        if self.answer is None and (self.match not in ("pattern", "program") or self.names_answer):
            raise ValueError("answer is missing; name the column of the prompt file with the right answer")
        if self.tolerance and self.match != "number":
            raise ValueError("tolerance is for `match: number`")
        if self.ignore != ["space"] and self.match != "exact":
            raise ValueError("ignore is for `match: exact`; a regular expression can begin with (?i)")
        return self


def refuse_served(optimized: Mapping[str, object]) -> None:
    """Check that no optimised reward is on a server.

    Raises:
        ValueError: one is; the message names it.
    """
    for name, reward in optimized.items():
        if getattr(reward, "endpoint", None):
            raise ValueError(
                f"rewards.{name} is a judge on a server, and no policy can be trained or tempered on it here; give its "
                "`source`"
            )

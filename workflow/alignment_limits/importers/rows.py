"""Rows of other projects' files, with checks of each field: a message names file, row and field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignment_limits.errors import TableError
from alignment_limits.tables.conversations import as_text


@dataclass(slots=True)
class Sample:
    """One reply, with what its file states about it.

    Attributes:
        file, row: where it is; rows are counted from 1.
        prompt: as text. key: the file's own id of the prompt. At least one is given.
        reply: None if there is none, for the reason `error`.
        scores: by name; None where the file has none for this reply.
        failed: names of scores that a judge gave in a form that could not be read.
        law: what decides the distribution that drew the reply, such as model, step, temperature; as text.
        tokens, logprobs: of the reply, a value per token. logprob: their sum, nats, where only that is known.
        finish: why the reply ended. seed: of the request.
        answer: that was found in the reply, for majority votes.
        shared: names of scores that the file gives to several replies together.
    """

    file: str
    row: int
    prompt: str | None = None
    key: str | None = None
    reply: str | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    law: dict[str, str] = field(default_factory=dict)
    tokens: list[int] | None = None
    logprobs: list[float] | None = None
    logprob: float | None = None
    finish: str | None = None
    seed: int | None = None
    answer: str | None = None
    error: str | None = None
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a file, or an object within one.

    Attributes:
        file, number: for messages; numbers are counted from 1.
        values: its fields. path: where this object is within the record.
    """

    file: str
    number: int
    values: Mapping[str, Any]
    path: str = ""

    def refuse(self, name: str, what: str) -> TableError:
        """The error about a field."""
        return TableError(f"{self.file}: row {self.number}: '{self.path}{name}' {what}")

    def identity(self, name: str) -> str:
        """An id that must be there."""
        self.needed(name)
        return self.word(name) or ""

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self.values.get(name) is not None

    def needed(self, name: str) -> Any:
        """A field that must be there."""
        if not self.has(name):
            raise self.refuse(name, "is missing; the file may be cut or of another format")
        return self.values[name]

    def text(self, name: str) -> str:
        """A text."""
        return self._text(name, self.needed(name))

    def optional_text(self, name: str) -> str | None:
        """A text, or a missing one."""
        return self._text(name, self.values[name]) if self.has(name) else None

    def word(self, name: str) -> str | None:
        """A text or a whole number as text: ids, names, steps. Missing if it is not there."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.refuse(name, f"is {kind(value)}, not a text or a whole number")
        return clean(str(value))

    def number_or_none(self, name: str, *, texts: bool = False) -> float | None:
        """A finite number; true is 1. Missing values and NaN are None. Texts of numbers are read if `texts`."""
        return self._number(name, self.values.get(name), texts)

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        return [self._text(f"{name}.{i}", value) for i, value in enumerate(self.items(name))]

    def numbers(self, name: str) -> list[float | None]:
        """A list of numbers, None where one is missing or NaN."""
        return [self._number(f"{name}.{i}", value, False) for i, value in enumerate(self.items(name))]

    def items(self, name: str) -> list[Any]:
        """A list."""
        value = self.needed(name)
        if not isinstance(value, list):
            raise self.refuse(name, f"is {kind(value)}, not a list")
        return value

    def inside(self, name: str) -> Row:
        """An object in a field; an empty one if it is missing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self.refuse(name, f"is {kind(value)}, not an object")
        return Row(self.file, self.number, value or {}, f"{self.path}{name}.")

    def each(self, name: str) -> Iterator[Row]:
        """The objects of a list."""
        for i, value in enumerate(self.items(name)):
            if not isinstance(value, Mapping):
                raise self.refuse(f"{name}.{i}", f"is {kind(value)}, not an object")
            yield Row(self.file, self.number, value, f"{self.path}{name}.{i}.")

    def same_length(self, names: Sequence[str]) -> int:
        """The common length of lists."""
        lengths = {name: len(self.items(name)) for name in names}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"'{self.path}{name}' {n}" for name, n in lengths.items())
            raise TableError(f"{self.file}: row {self.number}: lists differ in length: {shown}")
        return lengths[names[0]]

    def whole_numbers(self, name: str) -> list[int]:
        """A list of token ids."""
        values = self.items(name)
        if bad := [i for i, value in enumerate(values) if type(value) is not int or not 0 <= value < 2**31]:
            raise self.refuse(f"{name}.{bad[0]}", f"is {kind(values[bad[0]])}, not a token id")
        return values

    def logprobs(self, name: str) -> list[float]:
        """Log-probabilities of tokens: numbers, also minus infinity and NaN."""
        return [self.logprob(f"{name}.{i}", value) for i, value in enumerate(self.items(name))]

    def logprob(self, name: str, value: Any) -> float:
        """One log-probability."""
        if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(name, f"is {kind(value)}, not a log-probability")
        return self._float(name, value)

    def prompt(self, name: str) -> str:
        """A prompt: a text, or messages as one text."""
        value = self.needed(name)
        return self.conversation(name, value) if isinstance(value, list) else self._text(name, value)

    def conversation(self, name: str, value: Sequence[Any]) -> str:
        """Messages as one text. Parts that are not text appear by their type."""
        messages = []
        for i, message in enumerate(value):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise self.refuse(f"{name}.{i}", "is not a message with role and content")
            messages.append({"role": message["role"], "content": content(message.get("content"))})
        if not messages:
            raise self.refuse(name, "has no messages")
        return as_text(messages)

    def _text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.refuse(name, f"is {kind(value)}, not text")
        return clean(value)

    def _number(self, name: str, value: Any, texts: bool) -> float | None:
        if isinstance(value, str) and texts:
            try:
                value = float(value)
            except ValueError:
                raise self.refuse(name, f"is {value[:40]!r}, not a number") from None
        if value is None:
            return None
        if not isinstance(value, (bool, int, float)):
            raise self.refuse(name, f"is {kind(value)}, not a number")
        number = self._float(name, value)
        if math.isinf(number):
            raise self.refuse(name, "is infinite")
        return None if math.isnan(number) else number

    def _float(self, name: str, value: float) -> float:
        try:
            return float(value)
        except OverflowError:  # a whole number of hundreds of digits
            raise self.refuse(name, "is too large a number") from None


def content(given: Any) -> str:
    """The text of a message's content, which may be a list of parts."""
    if isinstance(given, list):
        return "".join(content(part) for part in given)
    if isinstance(given, Mapping):
        text = given.get("text")
        return clean(text if isinstance(text, str) else f"[{given.get('type', 'part')}]")
    return clean(given) if isinstance(given, str) else ""


def clean(text: str) -> str:
    """A text with a question mark in place of half a surrogate pair, which no file can contain."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def kind(value: Any) -> str:
    """The kind of a value, for messages."""
    names: list[tuple[Any, str]] = [
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
    ]
    names += [(list, "a list"), (Mapping, "an object")]
    return "missing" if value is None else next((n for t, n in names if isinstance(value, t)), type(value).__name__)


def number_of(count: int, what: str) -> str:
    """A count with its noun.

    Example:
        >>> number_of(1, "prompt"), number_of(64, "prompt")
        ('1 prompt', '64 prompts')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


SETTINGS = ("temperature", "top_p", "top_k", "min_p", "max_tokens")


def settings(row: Row, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Sampling settings that a row states, as parts of its law.

    Args:
        names: the file's name of each setting, where it differs from ours.
    """
    found = {}
    for ours in SETTINGS:
        value = row.number_or_none((names or {}).get(ours, ours))
        if value is not None:
            found[ours] = f"{value:g}"
    return found


@dataclass
class Choices:
    """What the user chose, and what was guessed.

    Attributes:
        prompt, reply, law, key: columns of the generic format. scores: columns or names of scores; empty: all.
        guessed: by role, for the output and the provenance.
        learned: findings of a reader, with what it found. counts: how often it found them.
    """

    prompt: str | None = None
    reply: str | None = None
    scores: tuple[str, ...] = ()
    law: str | None = None
    key: str | None = None
    guessed: dict[str, str] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, finding: str, number: int) -> None:
        """Add to how often something was found."""
        self.counts[finding] = self.counts.get(finding, 0) + number

    def wants(self, score: str) -> bool:
        """Whether a score is to be read."""
        return not self.scores or score in self.scores


Reader = Callable[[Sequence[Any], Choices], Iterator[Sample]]

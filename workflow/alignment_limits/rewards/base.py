"""The interface of a reward model: texts in, float64 scores out. This module needs NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alignment_limits.errors import RewardError

Turns = tuple[tuple[str, str], ...]  # role and content of each message


@dataclass(frozen=True)
class Scores:
    """Scores of n texts, in the order the texts were given.

    Attributes:
        score: float64 [n], larger is better, in the reward's units (logits, cosine, counts).
        truncated: bool [n], True where the model did not read the complete text.
        failed: bool [n], True where a judge has not answered, or a verifier found no answer; None for other rewards.
        answers: object [n], the answer that a verifier found in each reply, or None; None for other rewards. Replies
            with the same answer have the same text here.
    """

    score: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    failed: NDArray[np.bool_] | None = None
    answers: NDArray[np.object_] | None = None


class Prompt(str):
    """A prompt as one text, with further columns of its row in the prompt file.

    Attributes:
        columns: name of a column → its value as text, or None, for rewards that ask for them.
        messages: the turns of a conversation, for rewards that read through a chat template; otherwise ().
        thinks: whether the model's chat template has opened the thinking of the reply.

    Example:
        >>> prompt = Prompt("What is 6 · 7?", {"answer": "42"})
        >>> prompt.columns["answer"]
        '42'
    """

    columns: Mapping[str, str | None]
    messages: Turns
    thinks: bool

    def __new__(
        cls, text: str, columns: Mapping[str, str | None], messages: Turns = (), thinks: bool = False
    ) -> Prompt:
        prompt = super().__new__(cls, text)
        prompt.columns = dict(columns)
        prompt.messages = messages
        prompt.thinks = thinks
        return prompt


class RewardModel(Protocol):
    """A reward model; it makes its own batches."""

    def score(self, prompts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score each reply to the prompt at the same place (or to the document or reference: `beside`).

        Raises:
            RewardError: the two sequences differ in length, the model refuses a text, or a score is not
                finite.
        """
        ...


@dataclass(frozen=True)
class ItemReward:
    """A reward model of two functions; it scores each distinct item once.

    Attributes:
        items: (prompts, replies) → for each reply a hashable item, which the model reads.
        score_items: distinct items → raw scores, before `sign`.
        sign: 1, or -1 where large scores are bad.
        tolerance: allowed change of a score with its batch, in units of the spread of scores; None: the
            default of the preflight.
        flat: all texts of a preflight may have the same score (a verifier that none passes, a list of rare words).
        readable: (item, further tokens that its reply may take) → anything; raises RewardError if the model cannot read
            the item. It runs no model, so a preflight can check every prompt of a study.
    """

    items: Callable[[Sequence[str], Sequence[str]], list[Any]]
    score_items: Callable[[list[Any]], Scores]
    sign: int = 1
    tolerance: float | None = None
    flat: bool = False
    readable: Callable[[Any, int], object] | None = None

    def score(self, prompts: Sequence[str], replies: Sequence[str]) -> Scores:
        """See `RewardModel.score`."""
        if len(prompts) != len(replies):
            raise RewardError(f"{len(prompts)} prompts but {len(replies)} replies; give one prompt for each reply")
        distinct, where = distinct_items(self.items(prompts, replies))
        if not distinct:
            return Scores(np.empty(0), np.empty(0, dtype=bool))
        raw = self.score_items(distinct)
        bad = np.flatnonzero(~np.isfinite(raw.score[where]))
        if len(bad):
            raise RewardError(
                f"{len(bad)} of {len(where)} scores are NaN or infinite, the first for text number {bad[0]} "
                "(counted from 0); fix the reward"
            )
        failed = None if raw.failed is None else raw.failed[where]
        answers = None if raw.answers is None else raw.answers[where]
        score = self.sign * raw.score[where] + 0.0  # no negative zeros
        return Scores(score, raw.truncated[where], failed, answers)


THINK, THOUGHT = "<think>", "</think>"


def after_thinking(prompt: str, reply: str) -> str | None:
    """What follows the last `</think>` of a reply; None if it has begun to think and not ended it.

    Example:
        >>> [after_thinking("", reply) for reply in ("<think>Six</think> 42", "<think>Six", "42")]
        ['42', None, '42']
    """
    if THOUGHT in reply:
        return reply.rpartition(THOUGHT)[2].lstrip()
    return None if THINK in reply or getattr(prompt, "thinks", False) else reply


def without_thinking(model: ItemReward) -> ItemReward:
    """The same reward of what follows the thinking of replies; of unfinished thinking, of an empty reply."""

    def items(prompts: Sequence[str], replies: Sequence[str]) -> list[Any]:
        return model.items(prompts, [after_thinking(p, r) or "" for p, r in zip(prompts, replies, strict=True)])

    return replace(model, items=items)


def text_reward(
    text: str, sign: int, score_texts: Callable[[list[str]], Scores], tolerance: float | None = None, flat: bool = False
) -> ItemReward:
    """A reward that reads one text: the reply, or prompt and reply joined as the language model saw them."""
    readers = {"reply": _reply, "prompt+reply": _joined}
    if text not in readers:
        raise RewardError(f"text: '{text}' is not supported by this kind of reward; use {' or '.join(readers)}")
    return ItemReward(readers[text], score_texts, sign, tolerance, flat)


def pairs(prompts: Sequence[str], replies: Sequence[str]) -> list[Any]:
    """Items of a reward that reads the reply and one more text: (that text, reply)."""
    return list(zip(prompts, replies, strict=True))


def turns_of(prompt: str | Turns) -> Turns:
    """A prompt as the turns of a conversation; a plain text is one turn of the user."""
    if isinstance(prompt, tuple):
        return prompt
    return getattr(prompt, "messages", ()) or (("user", str(prompt)),)


def conversations(prompts: Sequence[str], replies: Sequence[str]) -> list[Any]:
    """Items of a reward that reads through a chat template: (turns, reply)."""
    return [(turns_of(prompt), reply) for prompt, reply in zip(prompts, replies, strict=True)]


def untruncated(score: Any) -> Scores:
    """Scores of a model that always reads the complete text."""
    array = np.asarray(score, dtype=np.float64)
    return Scores(array, np.zeros(len(array), dtype=bool))


def distinct_items(items: Sequence[Hashable]) -> tuple[list[Any], NDArray[np.intp]]:
    """Distinct items in order of first appearance, and the index among them of every item [n]."""
    index: dict[Hashable, int] = {}
    where = np.fromiter((index.setdefault(item, len(index)) for item in items), np.intp, len(items))
    return list(index), where


def log_odds(p: NDArray[np.floating], q: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """log p − log q in float64; finite also if a probability was rounded to 0 or 1.

    Args:
        p: probabilities [n].
        q: probabilities of the complement [n]; default 1 − p.
    """
    p64 = np.asarray(p, dtype=np.float64)
    q64 = 1 - p64 if q is None else np.asarray(q, dtype=np.float64)
    floor = np.finfo(np.asarray(p).dtype).epsneg  # the resolution of 1 − p in the model's precision
    return np.log(np.maximum(p64, floor)) - np.log(np.maximum(q64, floor))


def need_file(folder: Path | None, name: str, key: str) -> Path:
    """Path of a file that the reward needs.

    Raises:
        RewardError: it is missing; the message names it and lists the folder's files.
    """
    if folder is None:
        raise RewardError(f"{key}: {name} needs a source, none was given; add `source:` to the reward")
    path = folder / name
    if not path.is_file():
        held = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        listing = ", ".join(held[:12]) + (" …" if len(held) > 12 else "")
        raise RewardError(
            f"{path} is missing ({key}: {name}); the folder contains: {listing or 'nothing'}; "
            f"correct {key}, or the source's member"
        )
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RewardError(f"{path} leads outside its source, to {path.resolve()} ({key}: {name}); correct {key}")
    return path


def _reply(prompts: Sequence[str], replies: Sequence[str]) -> list[str]:
    return list(replies)


def _joined(prompts: Sequence[str], replies: Sequence[str]) -> list[str]:
    return [p + r for p, r in zip(prompts, replies, strict=True)]

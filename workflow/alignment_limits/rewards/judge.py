"""A language model as judge: the expectation of its answer to a rubric, over the probabilities of the answers.

No answer is sampled. One sampled digit would have ties and noise; the expectation has neither, and no parsing can fail.
Instead, the probabilities of all answers add up to a mass. Where it is small, the judge has not answered the rubric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import torch
from numpy.typing import NDArray

from alignment_limits.errors import RewardError
from alignment_limits.models import tokenizer as tokenizers
from alignment_limits.models.load import in_batches, load_split
from alignment_limits.models.tokenizer import DATE, load_config, load_tokenizer
from alignment_limits.rewards.base import ItemReward, Prompt, Scores
from alignment_limits.rewards.checkpoints import (
    ROUNDED_TOLERANCE,
    answer_tokens,
    as_text,
    context_of,
    drop_tokens,
    most_tokens,
    need_checkpoint,
)

Probabilities = Callable[[Sequence[Sequence[int]], Sequence[int]], NDArray[np.float64]]
Item = tuple[tuple[str, str], ...]  # what is filled in: (place, text)


class Opinions(NamedTuple):
    """What a judge thinks of some items.

    Attributes:
        probability: of each answer, (items, answers).
        begins: the likeliest first token of its answer, of each item.
        cut: 1 where the judge did not read the complete text, of each item.
    """

    probability: NDArray[np.float64]
    begins: list[str]
    cut: NDArray[np.float64]


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    rubric: str,
    answers: Mapping[str, float],
    against: str | None = None,
    columns: Sequence[str] = (),
    least_mass: float = 0.5,
    most_failed: float = 0.05,
    endpoint: Mapping[str, Any] | None = None,
    **model: Any,
) -> ItemReward:
    """A reward in the units of the answers' values; `text` is not used. See `study.judges.Judge` for the settings.

    In a comparison the score is the mean of both orders. The value v of an answer counts as lowest + highest − v where
    the reply is second. So a judge that always prefers the first text gives every reply the middle of the scale.

    Raises:
        RewardError: no causal language model or chat template; an answer without a token; when scoring: a column is
            missing, or the judge has not answered for too many replies.
        ModelError: the server of the judge does not answer.
    """
    values = np.array(list(answers.values()))
    tolerance: float | None = ROUNDED_TOLERANCE
    readable = None
    if endpoint is not None:
        from alignment_limits.rewards.served_judge import ask_server

        ask, name = ask_server(endpoint, rubric, list(answers)), str(endpoint["url"])
    else:
        path = need_checkpoint(folder)
        ask, readable = _ask_model(path, device, rubric, list(answers), **model)
        name = str(path)
        tolerance = None if model.get("dtype", "float32") == "float32" else ROUNDED_TOLERANCE

    def mean(opinions: Opinions, values: NDArray[np.float64]) -> NDArray[np.float64]:
        mass = opinions.probability.sum(1)
        # an answer of probability 0 in float64 everywhere leaves the middle of the scale, and fails below
        return np.where(mass > 0, opinions.probability @ values / np.where(mass > 0, mass, 1), values.mean())

    def score_items(items: list[Item]) -> Scores:
        given = ask(items)
        score, mass, begins, cut = mean(given, values), given.probability.sum(1), given.begins, given.cut
        if against is not None:
            swap = {"first": "second", "second": "first"}
            turned = ask([tuple((swap.get(place, place), text) for place, text in item) for item in items])
            score = (score + mean(turned, values.min() + values.max() - values)) / 2
            mass, cut = np.minimum(mass, turned.probability.sum(1)), np.maximum(cut, turned.cut)
        failed = mass < least_mass
        if failed.mean() > most_failed:
            raise RewardError(
                f"{name}: the judge does not answer the rubric for {failed.sum()} of {len(items)} distinct replies "
                f"(the probabilities of {', '.join(map(repr, answers))} add up to {np.median(mass[failed]):.2g}; its "
                f"likeliest beginning is {begins[int(np.argmax(failed))]!r}). Ask for these answers in the rubric's "
                "last line, write `lead` and `answers` as the model does, or raise most_failed"
            )
        return Scores(score, cut > 0, failed)

    def items(prompts: Sequence[str], replies: Sequence[str]) -> list[Any]:
        return [_item(prompt, reply, columns, against) for prompt, reply in zip(prompts, replies, strict=True)]

    return ItemReward(items, score_items, sign, tolerance, readable=readable)


def _ask_model(
    path: Path,
    device: str,
    rubric: str,
    answers: Sequence[str],
    *,
    template: str = "chat",
    lead: str = "",
    max_length: int | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    date: str = DATE,
) -> tuple[Callable[[Sequence[Item]], Opinions], Callable[[Any, int], object]]:
    """A checkpoint's opinions, and a function that fails for an item which it cannot read."""
    tokenizer = load_tokenizer(path, trust_remote_code)
    limit = most_tokens(max_length, context_of(tokenizer, load_config(path, trust_remote_code)), path)
    if template == "chat" and not tokenizer.chat_template:
        raise RewardError(f"{path}: the tokenizer has no chat template; set `template: none`")
    tokens = answer_tokens(tokenizer, answers, lead, path)
    if same := [a for i, a in enumerate(answers) if tokens.index(tokens[i]) != i]:
        raise RewardError(f"{path}: '{same[0]}' has the tokens of another answer; leave one of the two out")
    tree = AnswerTree.of(tokens)
    model = load_split(path, device=device, trust_remote_code=trust_remote_code, dtype=dtype)
    fill = _filler(tokenizer, rubric, template, lead, limit, path, date)

    def probabilities(ids: Sequence[Sequence[int]], of: Sequence[int]) -> NDArray[np.float64]:
        def forward(batch: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            rows = torch.arange(len(batch), device=batch.device)
            last = model.logits(model.hidden(batch, mask)[rows, mask.sum(1) - 1]).double()
            return torch.cat([torch.softmax(last, 1)[:, list(of)], last.argmax(1, keepdim=True).double()], 1)

        return in_batches(ids, forward, pad=0, device=device)

    def ask(items: Sequence[Item]) -> Opinions:
        encoded = [fill(dict(item)) for item in items]
        each, likeliest = tree.probabilities([ids for ids, _ in encoded], probabilities)
        begins = [tokenizer.decode([int(token)]) for token in likeliest]
        return Opinions(each, begins, np.array([cut for _, cut in encoded], dtype=np.float64))

    return ask, lambda item, _: fill(dict(item))


@dataclass(frozen=True)
class AnswerTree:
    """The tokens of all answers as a tree: where answers part, the model's next-token probabilities decide.

    A place where only one answer is left decides nothing: the rest of that answer is taken as given. An answer that
    ends where another goes on ("1" and "10") has the probability that no listed token follows.

    Attributes:
        places: tokens that lead to a place where more than one answer is possible → answers that go on, by next token.
        ends: the same place → the answer that ends there, or None.
        number: of answers.
    """

    places: Mapping[tuple[int, ...], Mapping[int, Sequence[int]]]
    ends: Mapping[tuple[int, ...], int | None]
    number: int

    @classmethod
    def of(cls, answers: Sequence[Sequence[int]]) -> AnswerTree:
        """The tree of token ids of distinct answers.

        Example:
            >>> AnswerTree.of([[7], [7, 8], [9, 9]]).places
            {(): {7: [0, 1], 9: [2]}, (7,): {8: [1]}}
        """
        places: dict[tuple[int, ...], dict[int, list[int]]] = {}
        ends: dict[tuple[int, ...], int | None] = {}
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            place = waiting.pop(0)
            own = [i for i, tokens in enumerate(answers) if tuple(tokens[: len(place)]) == place]
            following: dict[int, list[int]] = {}
            for i in own:
                if len(answers[i]) > len(place):
                    following.setdefault(answers[i][len(place)], []).append(i)
            places[place], ends[place] = following, next((i for i in own if len(answers[i]) == len(place)), None)
            waiting += [(*place, token) for token, through in following.items() if len(through) > 1]
        return cls(places, ends, len(answers))

    def probabilities(
        self, asked: Sequence[Sequence[int]], of: Probabilities
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probability of each answer (texts, answers), and the likeliest first token of each text.

        Args:
            asked: token ids of each text, up to the answer.
            of: (token ids of each text, tokens) → their next-token probabilities, and the likeliest token [n, k + 1].
        """
        out = np.ones((len(asked), self.number))
        likeliest = np.zeros(len(asked))
        for place, following in self.places.items():
            found = of([[*ids, *place] for ids in asked], list(following))
            if not place:
                likeliest = found[:, -1]
            for column, through in enumerate(following.values()):
                out[:, through] *= found[:, [column]]
            if (ending := self.ends[place]) is not None:
                out[:, ending] *= np.maximum(0.0, 1 - found[:, :-1].sum(1))
        return out, likeliest


def _item(prompt: str, reply: str, columns: Sequence[str], against: str | None) -> Item:
    own = prompt.columns if isinstance(prompt, Prompt) else {}
    given = {}
    for name in columns:
        if own.get(name) is None:
            raise RewardError(
                f"the judge reads the column '{name}', which the prompt that starts {str(prompt)[:40]!r} does not "
                f"have; its columns are: {', '.join(own) or 'none'}"
            )
        given[name] = str(own[name])
    if against is None:
        return tuple((given | {"prompt": str(prompt), "reply": reply}).items())
    return tuple((given | {"prompt": str(prompt), "first": reply, "second": given[against]}).items())


def filled(rubric: str, texts: Mapping[str, str]) -> str:
    """A rubric with its places filled in; braces in the texts are text.

    Example:
        >>> filled("{prompt} {reply} {other}", {"prompt": "{reply}", "reply": "yes"})
        '{reply} yes {other}'
    """
    return re.sub(r"\{(\w+)\}", lambda place: texts.get(place[1], place[0]), rubric)


_LOSES = {"prompt": 0, "reply": 2, "first": 2, "second": 2}  # what is shortened first; columns: 1


def _filler(
    tokenizer: Any, rubric: str, template: str, lead: str, limit: int | None, path: Path, date: str
) -> Callable[[dict[str, str]], tuple[list[int], bool]]:
    """(place → text) → token ids up to the answer, and whether a text was shortened to fit into `limit`.

    Control tokens in the texts are read as text. Where all is too long, the prompt loses its beginning, then the
    columns, then what is judged.
    """
    plain = as_text(tokenizer)
    said: list[int] = tokenizer(lead, add_special_tokens=False)["input_ids"] if lead else []
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]

    def render(texts: Mapping[str, str]) -> list[int]:
        asked = filled(rubric, texts)
        if template == "none":
            return [*tokenizer(asked, verbose=False)["input_ids"], *said]
        turn = [{"role": "user", "content": asked}]
        options = {"tokenize": True, "return_dict": False, "add_generation_prompt": True}
        try:
            ids = list(tokenizers.chat(tokenizer, turn, date=date, **options))
        except jinja2.TemplateError as error:
            raise RewardError(f"{path}: the chat template refuses the rubric: {error}") from error
        ids = [bos, *ids] if adds_bos and ids[:1] != [bos] else ids
        if bos is not None and ids[:2] == [bos, bos]:
            raise RewardError(f"{path}: the chat template puts two BOS tokens in front; fix chat_template")
        return ids + said

    def fill(texts: dict[str, str]) -> tuple[list[int], bool]:
        texts = {place: plain(text) for place, text in texts.items()}
        ids, cut = render(texts), False
        while limit is not None and len(ids) > limit:
            left = [place for place, text in texts.items() if text and f"{{{place}}}" in rubric]
            if not left:
                raise RewardError(f"{path}: the rubric alone takes {len(ids)} tokens; the judge reads {limit}")
            # of two compared texts the longer one, whichever is first
            long = min(left, key=lambda place: (_LOSES.get(place, 1), -len(texts[place]), texts[place], place))
            excess = len(ids) - limit
            texts[long] = drop_tokens(tokenizer, texts[long], excess if long in ("prompt", "reply") else min(excess, 8))
            ids, cut = render(texts), True
        return ids, cut

    return fill

"""Load a reward model from its settings, with what it reads with a reply (prompt, document, references, columns); sums.

The module of a kind is imported only when it is needed. So scoring with a lexicon never imports torch, and an edit in
the module of one kind reruns only this kind.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError, ModelError, RewardError
from alignment_limits.rewards.base import (
    THINK,
    THOUGHT,
    ItemReward,
    Prompt,
    RewardModel,
    Scores,
    Turns,
    after_thinking,
    without_thinking,
)
from alignment_limits.tables.conversations import MESSAGES

# module, or module:function if the module has several kinds
_LOADERS = {
    "keras-bilstm": "keras_bilstm",
    "sklearn": "sklearn_scorer",
    "onnx": "onnx_scorer",
    "embedding": "embedding",
    "sequence-classifier": "sequence_classifier",
    "lexicon": "words:load_lexicon",
    "similarity": "words:load_similarity",
    "rouge": "words:load_rouge",
    "information-gain": "information_gain",
    "length": "words:load_length",
    "guard": "guard",
    "judge": "judge",
    "verifier": "verifier",
    "python": "python_function",
}
_NOT_FOR_THE_MODEL = {"kind", "source", "note", "bounds", "beside", "gpu", "reply"}


def module_of(kind: str, function: str | None = None) -> str:
    """Dotted name of the module that scores; for kind python, with its `function`, the user's module.

    Raises:
        RewardError: unknown kind.
    """
    if kind == "python" and function is not None:
        return function.partition(":")[0]
    if kind not in _LOADERS:
        raise RewardError(f"there is no reward of kind '{kind}'; there are: {', '.join(_LOADERS)}")
    return f"alignment_limits.rewards.{_LOADERS[kind].partition(':')[0]}"


def load_reward(spec: Any, folder: Path | None, *, device: str = "cpu") -> RewardModel:
    """The reward model that a study's `rewards.<name>` describes.

    Args:
        spec: the validated section (a class of `study.rewards`) or the same as a plain dict.
        folder: the fetched `source`; None for rewards without one.
        device: torch device, for the kinds that use torch.

    Raises:
        RewardError: a file is missing or unreadable, or a setting does not fit the model.
    """
    settings = dict(spec) if isinstance(spec, Mapping) else dict(spec.model_dump())
    module = importlib.import_module(module_of(settings["kind"]))
    load = getattr(module, _LOADERS[settings["kind"]].partition(":")[2] or "load")
    if folder is not None:
        folder = Path(folder)
        if not folder.is_dir():
            raise RewardError(f"{folder} does not exist; run the rule that fetches the reward's source first")
    arguments = {key: value for key, value in settings.items() if key not in _NOT_FOR_THE_MODEL}
    try:
        model: ItemReward = load(folder, device=device, **arguments)
    except ModelError as error:
        raise RewardError(str(error)) from error
    return without_thinking(model) if settings.get("reply") == "after-thinking" else model


def with_server(spec: Mapping[str, Any], rewards: Mapping[str, Any]) -> dict[str, Any]:
    """A reward's settings with the address of its server, which is no setting of a job because it decides no score.

    Args:
        rewards: the section of the study file.
    """
    if not spec.get("endpoint"):
        return dict(spec)
    at = [given["endpoint"] for given in rewards.values() if given.get("endpoint")]
    return dict(spec) | {"endpoint": next(each for each in at if each["model"] == spec["endpoint"]["model"])}


def refuse_failed(scores: Scores, spec: Mapping[str, Any], replies: Sequence[str]) -> None:
    """Check that a verifier has found an answer in enough replies.

    Raises:
        RewardError: the share of replies without one is above `most_failed`.
    """
    if spec["kind"] != "verifier" or scores.failed is None or scores.failed.mean() <= spec["most_failed"]:
        return
    first = replies[int(np.argmax(scores.failed))]
    raise RewardError(
        f"{scores.failed.sum()} of {len(replies)} replies have no answer (most_failed: {spec['most_failed']:g}). The "
        f"first ends with {first[-80:]!r}. Correct `extract`, ask for the answer's form in the prompt, let replies be "
        "longer (sampling.max_new_tokens), or raise most_failed"
    )


def thinking(prompts: Sequence[str], replies: Sequence[str]) -> dict[str, float]:
    """Shares of replies that have ended their thinking (`thought`), and that have begun but not ended it."""
    left = [after_thinking(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
    thought = [THOUGHT in reply for reply in replies]
    return {"thought": float(np.mean(thought)), "unfinished_thinking": float(np.mean([text is None for text in left]))}


def sum_of_scores(tables: Mapping[str, pl.DataFrame], weights: Mapping[str, float]) -> pl.DataFrame:
    """The first table with `score` = Σ weight · score, and `truncated` (if the tables have it) where any of them is.

    Raises:
        ArtifactError: the tables do not have the same replies in the same order.
    """
    (first, table), *others = tables.items()
    table = table.drop("answer", strict=False)  # of a verifier
    key = [column for column in table.columns if column not in ("score", "truncated")]
    for name, other in others:
        if not other.select(key).equals(table.select(key)):
            raise ArtifactError(
                f"{name} has scores of other replies ({other.height}) than {first} ({table.height}), so they cannot be "
                "added; check that both read the same texts and that all shards are of one run"
            )
    total = sum(weights[name] * tables[name]["score"] for name in tables)
    made = table.with_columns(score=total)
    if "truncated" in table.columns:
        made = made.with_columns(truncated=pl.Series(np.any([t["truncated"] for t in tables.values()], axis=0)))
    return made


@dataclass(frozen=True)
class ReadBeside:
    """A reward that gets prompts, but reads the document or the references that belong to them."""

    model: RewardModel
    of: Mapping[str, str]

    def score(self, prompts: Sequence[str], replies: Sequence[str]) -> Scores:
        """See `RewardModel.score`."""
        return self.model.score([self.of[prompt] for prompt in prompts], replies)


@dataclass(frozen=True)
class SumOfRewards:
    """Σ weight · score of reward models."""

    terms: Sequence[tuple[float, RewardModel]]

    def score(self, prompts: Sequence[str], replies: Sequence[str]) -> Scores:
        """See `RewardModel.score`."""
        each = [(weight, model.score(prompts, replies)) for weight, model in self.terms]
        total = np.sum([weight * scores.score for weight, scores in each], axis=0)
        return Scores(total, np.any([scores.truncated for _, scores in each], axis=0))


def read_beside(
    spec: Mapping[str, Any], prompts: pl.DataFrame, documents: pl.DataFrame | None = None
) -> dict[str, Prompt]:
    """The text that one reward reads with the replies to each prompt.

    Args:
        spec: the reward's settings, of which `beside` and `columns` are used.
        prompts: the table `prompts`, with a column `prompt` (as rewards read it) and those of the prompt file.
        documents: needed if `beside` is 'document' or 'reference'.

    Returns:
        prompt_id → text, with the columns asked for, and the turns of a conversation.

    Raises:
        RewardError: a column does not exist.
    """
    column = spec.get("beside", "prompt")
    context = prompts if column == "prompt" or documents is None else documents
    texts = dict(context.select("prompt_id", column).iter_rows())
    columns = columns_of(spec, prompts)
    turns = _turns(prompts) if column == "prompt" else {}
    sent = prompts["text"] if "text" in prompts.columns else pl.Series([""] * prompts.height)
    thinks = dict(zip(prompts["prompt_id"], sent.str.strip_chars_end().str.ends_with(THINK), strict=True))
    return {key: Prompt(texts[key], columns[key], turns.get(key, ()), thinks[key]) for key in columns if key in texts}


def columns_of(spec: Mapping[str, Any], prompts: pl.DataFrame) -> dict[str, dict[str, str | None]]:
    """The columns that a reward asks for: prompt_id → name → value.

    Raises:
        RewardError: a column does not exist.
    """
    names = list(spec.get("columns") or ())
    lacking = [name for name in names if name not in prompts.columns]
    if lacking:
        raise RewardError(
            f"columns: the prompts have no column '{lacking[0]}'; there are: {', '.join(prompts.columns)}. Add it to "
            "the prompt file, or correct the name"
        )
    values = prompts.select(names).rows(named=True) if names else [{} for _ in range(prompts.height)]
    return dict(zip(prompts["prompt_id"], values, strict=True))


def with_rows(
    model: RewardModel, spec: Mapping[str, Any], prompts: pl.DataFrame, documents: pl.DataFrame | None = None
) -> RewardModel:
    """A reward that gets prompts as plain texts, and reads what belongs to them; see `read_beside`.

    Raises:
        RewardError: prompts with the same text differ in what the reward reads.
    """
    plain = spec.get("beside", "prompt") == "prompt" and "reply" not in spec
    if plain and not spec.get("columns") and MESSAGES not in prompts.columns:
        return model
    return ReadBeside(model, by_prompt(read_beside(spec, prompts, documents), prompts))


def by_prompt(read: Mapping[str, Prompt], prompts: pl.DataFrame) -> dict[str, Prompt]:
    """The same by the prompt's text, for replies that are scored in training.

    Raises:
        RewardError: prompts with the same text differ in what the reward reads.
    """
    out: dict[str, Prompt] = {}
    for prompt_id, text in prompts.select("prompt_id", "prompt").iter_rows():
        own = read[prompt_id]
        known = out.setdefault(text, own)
        if (str(known), known.columns, known.messages) != (str(own), own.columns, own.messages):
            raise RewardError(
                f"prompt '{prompt_id}' has the text of another prompt, but other columns, turns or another document; "
                "in training a reward finds its prompt by the text: remove one of the two prompts"
            )
    return out


def _turns(prompts: pl.DataFrame) -> dict[str, Turns]:
    """prompt_id → the messages of the prompt."""
    if MESSAGES not in prompts.columns:
        return {}
    given = prompts.select("prompt_id", MESSAGES).drop_nulls().iter_rows()
    return {key: tuple((turn["role"], turn["content"]) for turn in json.loads(turns)) for key, turns in given}

"""Replies that trainers log: verl's rollout dumps, TRL's completions, open-instruct's rejection sampling and traces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from alignment_limits.importers.rows import Choices, Row, Sample
from alignment_limits.importers.sources import Source

_VERL = {"input", "output", "gts", "step", "request_id", "uid", "index", "num_turns", "__num_turns__"}
_TRL = {"step", "advantage", "prompt", "completion"}
_JUDGE_FAILED = -1.0


def read_verl(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """verl's `rollout_data_dir` and `validation_data_dir`: a file per step, named by it.

    Scores are `score` and all further columns of numbers.

    Raises:
        TableError: a field has another type.
    """
    for source in sources:
        scores = _numeric(source, _VERL)
        stem = source.path.stem
        for row in source.rows:
            step = row.word("step") or (stem if stem.isdecimal() else None)
            yield Sample(
                row.file,
                row.number,
                row.prompt("input"),
                reply=row.text("output"),
                scores={name: row.number_or_none(name) for name in ["score", *scores] if choices.wants(name)},
                law={} if step is None else {"step": step},
            )


def read_trl(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """TRL's `log_completions`: a Parquet file per logged step, with a column per reward function.

    Raises:
        TableError: a field has another type.
    """
    for source in sources:
        scores = [name for name in _numeric(source, _TRL) if choices.wants(name)]
        for row in source.rows:
            yield Sample(
                row.file,
                row.number,
                row.prompt("prompt"),
                reply=_completion(row),
                scores={name: row.number_or_none(name) for name in scores},
                law={"step": row.word("step") or ""},
            )


def _completion(row: Row) -> str:
    given = row.needed("completion")
    return row.conversation("completion", given) if isinstance(given, list) else row.text("completion")


def _numeric(source: Source, known: set[str]) -> list[str]:
    """Further columns of which most values are numbers. The others are errors, not a reason to leave the column out."""
    names = dict.fromkeys(name for row in source.rows for name in row.values if name not in known)
    found = []
    for name in names:
        given = [row.values.get(name) for row in source.rows if row.has(name)]
        if 2 * sum(isinstance(value, (bool, int, float)) for value in given) > len(given):
            found.append(name)
    return found


def read_traces(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """open-instruct's RL traces (`save_traces`): token ids, log-probabilities and a reward per reply; no text.

    Raises:
        TableError: a field has another type.
    """
    for source in sources:
        model = _model_of_run(source.path)
        for row in source.rows:
            prompt, tokens = row.whole_numbers("prompt_tokens"), row.whole_numbers("response_tokens")
            law = {"step": row.word("step") or ""} | ({} if model is None else {"model": model})
            yield Sample(
                row.file,
                row.number,
                key=hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:16],
                scores={"reward": row.number_or_none("reward")} if choices.wants("reward") else {},
                law=law,
                tokens=tokens,
                logprobs=row.logprobs("logprobs") if row.has("logprobs") else None,
                finish=row.optional_text("finish_reason"),
            )


def _model_of_run(file: Path) -> str | None:
    """The model that the run's metadata next to the traces name."""
    run = file.name.partition("_rollouts_")[0]
    about = file.with_name(f"{run}_metadata.jsonl")
    if not about.is_file():
        return None
    rows = Source(about).rows
    return rows[0].word("model_name") if rows else None


def read_rejection(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """open-instruct's completions for rejection sampling, with or without scores.

    The first reply of each prompt can be the reference of the data set; it is then marked as one.

    Raises:
        TableError: a field has another type.
    """
    for source in sources:
        earlier = None
        for row in source.rows:
            turns = row.items("messages")
            prompt = row.conversation("messages", turns[:-1])
            reply = row.text("model_completion")
            first, earlier = prompt != earlier, prompt
            scores = {name: row.inside("score").number_or_none(name) for name in row.inside("score").values}
            failed = [name for name, value in scores.items() if "gpt-" in name and value == _JUDGE_FAILED]
            scores |= dict.fromkeys(failed, None)
            reference = first and bool(scores) and reply == row.optional_text("reference_completion")
            yield Sample(
                row.file,
                row.number,
                prompt,
                reply=reply,
                scores={name: value for name, value in scores.items() if choices.wants(name)},
                failed=tuple(failed),
                law={"origin": "reference" if reference else "model"},
            )

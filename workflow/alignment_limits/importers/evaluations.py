"""Samples of lm-evaluation-harness (`--log_samples`) and of AlpacaEval."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alignment_limits.errors import TableError
from alignment_limits.importers.rows import Choices, Row, Sample, clean, kind, settings
from alignment_limits.importers.sources import Source

_LM_EVAL = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_LM_EVAL |= {"doc_hash", "prompt_hash", "target_hash", "task_name", "version"}
_SAMPLES_FILE = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.-]+)")
_GENERATION = {"max_tokens": "max_gen_toks"}
_INVALID = "[invalid]"  # what a filter writes that found no answer


def read_lm_eval(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Samples of lm-evaluation-harness, one file per task and run.

    A file has a row per document and filter. Rows of one document and its replies become one set of samples, with a
    score per metric and filter. Where the replies of a document share one value of a metric, each lacks it.

    Raises:
        TableError: a task without generated text, a field of another type, filters with different replies.
    """
    for source in sources:
        filters = list(dict.fromkeys(row.word("filter") or "none" for row in source.rows))
        if len(filters) > 1:
            shown = f"{len(filters)} filters ({', '.join(filters)}); scores are columns METRIC,FILTER"
            choices.learned["merged-filters"] = shown
        documents: dict[tuple[str, int], list[Row]] = {}
        seen: dict[tuple[str, str], int] = {}
        for row in source.rows:  # a document's n-th row of each filter belongs together
            key = row.identity("doc_id"), row.word("filter") or "none"
            seen[key] = seen.get(key, 0) + 1
            documents.setdefault((key[0], seen[key]), []).append(row)
        task, law = _run(source)
        for (doc_id, _), rows in documents.items():
            yield from _document(rows, f"{task}/{doc_id}" if task else doc_id, law, len(filters) > 1, choices)


def _document(
    rows: Sequence[Row], key: str, law: Mapping[str, str], several: bool, choices: Choices
) -> Iterator[Sample]:
    first = rows[0]
    replies = _replies(first)
    prompt, stated = _request(first)
    same = all(_replies(row) == replies for row in rows[1:])
    for part in [rows] if same else [[row] for row in rows]:
        of = {} if same else {"filter": part[0].word("filter") or "none"}
        replies = _replies(part[0])
        scores, shared = _metrics(part, len(replies), several and same, choices)
        answers = _answers(part, len(replies))
        for i, reply in enumerate(replies):
            own = {name: values[i] for name, values in scores.items()}
            more: dict[str, Any] = {"law": {**law, **stated, **of}, "shared": shared, "answer": answers[i]}
            yield Sample(first.file, part[0].number, prompt, key, reply, own, **more)


def _replies(row: Row) -> list[str]:
    requests = row.items("resps")
    if len(requests) != 1 or not isinstance(requests[0], list) or not requests[0]:
        raise row.refuse("resps", "has no generated text; log-likelihoods of choices are not samples")
    for i, reply in enumerate(requests[0]):
        if not isinstance(reply, str):
            what = "log-likelihoods of choices are not samples" if isinstance(reply, list) else "not generated text"
            raise row.refuse(f"resps.0.{i}", f"is {kind(reply)}; {what}")
    return list(requests[0])


def _request(row: Row) -> tuple[str, dict[str, str]]:
    """The prompt, and the settings of generation."""
    given = row.needed("arguments")
    pair: Sequence[Any]
    if isinstance(given, Mapping):
        request = row.inside("arguments").inside("gen_args_0")
        pair = [request.text("arg_0"), request.values.get("arg_1")]
    elif isinstance(given, list) and given and isinstance(given[0], list) and given[0]:
        pair = [*given[0], None]
    else:
        raise row.refuse("arguments", f"is {kind(given)}, not a request")
    if not isinstance(pair[0], str):
        raise row.refuse("arguments", f"has {kind(pair[0])} in place of the prompt")
    options = Row(row.file, row.number, pair[1] if isinstance(pair[1], Mapping) else {}, "arguments.")
    stated = settings(options, _GENERATION)
    if options.values.get("do_sample") is False:
        stated["temperature"] = "0"
    return pair[0], stated


def _metrics(
    rows: Sequence[Row], replies: int, several: bool, choices: Choices
) -> tuple[dict[str, list[float | None]], tuple[str, ...]]:
    """A score per reply and metric, and the metrics of which the replies share one value."""
    scores: dict[str, list[float | None]] = {}
    shared = []
    for row in rows:
        names = row.texts("metrics") if row.has("metrics") else [n for n in row.values if n not in _LM_EVAL]
        filtered = row.items("filtered_resps")
        invalid = (
            filtered[0].count(_INVALID) if filtered and isinstance(filtered[0], list) else filtered.count(_INVALID)
        )
        choices.count("unparsed-answers", int(invalid))
        for metric in names:
            name = f"{metric},{row.word('filter') or 'none'}" if several else metric
            value = row.values.get(metric)
            if not choices.wants(name) or isinstance(value, (str, Mapping)):
                continue
            if isinstance(value, list):
                if len(value) == replies and replies > 1:
                    scores[name] = row.numbers(metric)
                continue  # a pair for the aggregation of all documents, not a score of the reply
            if replies > 1:
                shared.append(name)
                scores[name] = [None] * replies
            else:
                scores[name] = [row.number_or_none(metric)]
    return scores, tuple(shared)


def _answers(rows: Sequence[Row], replies: int) -> list[str | None]:
    """What the first filter that has one answer for each reply found in each; None where it found none."""
    for row in rows:
        given = row.items("filtered_resps")
        filtered = given[0] if given and isinstance(given[0], list) else given
        if len(filtered) == replies and all(isinstance(answer, str) for answer in filtered):
            return [None if answer == _INVALID or not answer.strip() else answer for answer in filtered]
    return [None] * replies


def _run(source: Source) -> tuple[str, dict[str, str]]:
    """The task and the model of a file of samples, from its name and the file of results next to it."""
    match = _SAMPLES_FILE.fullmatch(source.path.stem)
    if match is None:
        return "", {}
    results = source.path.with_name(f"results_{match[2]}.json")
    model = _model_name(results) if results.is_file() else None
    if model is None and "__" in source.path.parent.name:
        model = clean(source.path.parent.name)
    return match[1], {} if model is None else {"model": model}


def _model_name(results: Path) -> str | None:
    try:
        name = json.loads(results.read_text("utf-8")).get("model_name")
    except (ValueError, OSError, AttributeError) as error:
        raise TableError(f"{results} cannot be read as json: {error}; the file may be cut") from error
    return clean(name) if isinstance(name, str) else None


def read_alpaca_eval(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Outputs of AlpacaEval (one reply an instruction), or annotations of pairs with a baseline's reply.

    The score of an annotated reply is the judge's probability that it is better than the baseline's: preference - 1.

    Raises:
        TableError: a field has another type, or a preference is not from 1 to 2.
    """
    for source in sources:
        for row in source.rows:
            prompt = row.text("instruction")
            if not row.has("output_2"):
                generator = row.optional_text("generator")
                law = {} if generator is None else {"model": generator}
                yield Sample(row.file, row.number, prompt, reply=row.text("output"), law=law)
                continue
            judge = row.optional_text("annotator") or "preference"
            given = row.number_or_none("preference")
            if given is not None and given != 0 and not 1 <= given <= 2:
                raise row.refuse("preference", f"is {given:g}; it is from 1 (the baseline) to 2")
            score = None if given is None else 0.5 if given == 0 else given - 1
            makers = {"model": row.optional_text("generator_2"), "baseline": row.optional_text("generator_1")}
            yield Sample(
                row.file,
                row.number,
                prompt,
                reply=row.text("output_2"),
                scores={judge: score},
                failed=(judge,) if score is None else (),
                law={name: value for name, value in makers.items() if value},
            )

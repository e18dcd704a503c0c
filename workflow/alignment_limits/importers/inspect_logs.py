"""Logs of inspect_ai: `.eval` archives, with a file per sample or a sample in parts, and `.json`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alignment_limits.errors import TableError
from alignment_limits.importers.rows import Choices, Row, Sample, content, settings
from alignment_limits.importers.sources import Archive, Source

_MARKS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_WHOLE = re.compile(r"samples/(.+)_epoch_(\d+)\.json")
_PARTS = re.compile(r"samples/(.+)_epoch_(\d+)/sample\.json")
_ATTACHMENT = re.compile(r"attachment://([0-9a-f]+)")


def is_inspect(source: Source) -> bool:
    """Whether a file is such a log."""
    if source.suffix == ".eval":
        return True
    document = source.document
    return isinstance(document, Mapping) and {"eval", "samples"} <= document.keys() and "status" in document


def read_inspect(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Samples of inspect logs: one per sample and epoch.

    C, P, I and N are 1, ½, 0 and 0, as in inspect's own metrics. A score that is NaN is one that the scorer could not
    give. Of several turns, the last one is the reply.

    Raises:
        TableError: a cut or damaged log, a field of another type, a score that is not a number.
    """
    for source in sources:
        header, samples = _archive(source) if source.suffix == ".eval" else _document(source)
        if header.values.get("status") != "success":
            choices.learned["unfinished-log"] = f"{source.name} has the status '{header.word('status') or 'unknown'}'"
        spec = header.inside("eval")
        task = spec.word("task") or ""
        law = {"model": spec.word("model")}
        generation = settings(spec.inside("model_generate_config"))
        generation |= settings(header.inside("plan").inside("config"))
        stated = {name: value for name, value in law.items() if value} | generation
        each = [_sample(row, task, stated, choices) for row in samples]
        yield from (sample for _, sample in sorted(each, key=lambda pair: pair[0]))


def _document(source: Source) -> tuple[Row, list[Row]]:
    document = source.document
    if not isinstance(document, Mapping) or not isinstance(document.get("samples"), list):
        raise TableError(f"{source.name} is not an inspect log with samples; a log of its header alone has none")
    header = Row(source.name, 1, document)
    rows = list(Row(source.name, 1, document).each("samples"))
    return header, [
        Row(source.name, i, _resolved(row.values, row.values.get("attachments"))) for i, row in enumerate(rows, 1)
    ]


def _archive(source: Source) -> tuple[Row, list[Row]]:
    archive = Archive(source.path)
    start = next((name for name in ("header.json", "_journal/start.json") if name in archive.members), None)
    if start is None:
        raise TableError(f"{source.name} has neither header.json nor _journal/start.json; it is not an inspect log")
    rows: list[Row] = []
    for member in archive.members:
        if _WHOLE.fullmatch(member):
            given = archive.json(member)
            attachments = given.get("attachments") if isinstance(given, Mapping) else None
        elif _PARTS.fullmatch(member):
            folder = member.removesuffix("sample.json")
            parts = [item for part in archive.under(f"{folder}attachments/") for item in _listed(archive, part)]
            given, attachments = archive.json(member), {str(i): text for i, text in enumerate(parts)}
        else:
            continue
        if not isinstance(given, Mapping):
            raise TableError(f"{source.name}: {member} is not a sample")
        rows.append(Row(f"{source.name}: {member}", len(rows) + 1, _resolved(given, attachments)))
    header = archive.json(start)
    if not isinstance(header, Mapping):
        raise TableError(f"{source.name}: {start} is not an object")
    return Row(f"{source.name}: {start}", 1, header), rows


def _listed(archive: Archive, member: str) -> list[Any]:
    given = archive.json(member)
    if not isinstance(given, list):
        raise TableError(f"{archive.name}: {member} is not a list")
    return given


def _resolved(given: Mapping[str, Any], attachments: Any) -> Mapping[str, Any]:
    """A sample's input and output with long texts in place of references to attachments."""
    if not isinstance(attachments, Mapping) or not attachments:
        return given

    def resolve(value: Any) -> Any:
        if isinstance(value, str):
            return _ATTACHMENT.sub(lambda match: str(attachments.get(match[1], match[0])), value)
        if isinstance(value, list):
            return [resolve(item) for item in value]
        return {key: resolve(item) for key, item in value.items()} if isinstance(value, Mapping) else value

    return {**given, **{key: resolve(given[key]) for key in ("input", "output") if key in given}}


def _sample(row: Row, task: str, law: Mapping[str, str], choices: Choices) -> tuple[int, Sample]:
    """A sample after its epoch."""
    identity, epoch = row.word("id"), row.number_or_none("epoch")
    if identity is None or epoch is None:
        raise row.refuse("id" if identity is None else "epoch", "is missing")
    error = row.inside("error").word("message") if isinstance(row.values.get("error"), Mapping) else row.word("error")
    if row.has("invalidation"):
        error = "invalidated"
    scores, failed = _scores(row, choices) if error is None else ({}, ())
    output = row.inside("output")
    answers = list(output.each("choices")) if output.has("choices") else []
    if error is None and not answers:
        error = output.word("error") or "no output"
    reply, finish, logprobs, answer = None, None, None, None
    if error is None:
        reply = content(answers[0].inside("message").needed("content"))
        finish = row.inside("limit").word("type") or answers[0].word("stop_reason")
        answer = _answer(row)
        if answers[0].has("logprobs"):
            tokens = answers[0].inside("logprobs").each("content")
            logprobs = [token.logprob("logprob", token.values.get("logprob")) for token in tokens]
        turns = row.number_or_none("turn_count")
        if turns is None:
            messages = row.values.get("messages")
            said = [m.get("role") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
            turns = said.count("assistant")
        choices.count("several-turns", int(turns > 1))
    return int(epoch), Sample(
        row.file,
        row.number,
        row.prompt("input"),
        f"{task}/{identity}" if task else identity,
        reply,
        scores,
        failed,
        dict(law),
        logprobs=logprobs,
        finish=finish,
        answer=answer,
        error=error,
    )


def _answer(row: Row) -> str | None:
    """The answer that the first scorer with one found in the reply."""
    found = (row.inside("scores").inside(scorer).values.get("answer") for scorer in row.inside("scores").values)
    return next((answer for answer in found if isinstance(answer, str) and answer.strip()), None)


def _scores(row: Row, choices: Choices) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """The scores of a sample, and those that the scorer could not give."""
    scores: dict[str, float | None] = {}
    failed = []
    for scorer in row.inside("scores").values:
        found = row.inside("scores").inside(scorer)
        value = found.values.get("value")
        if isinstance(value, Mapping):
            each = {f"{scorer}/{name}": part for name, part in value.items()}
        else:
            each = (
                {f"{scorer}/{i}": part for i, part in enumerate(value)} if isinstance(value, list) else {scorer: value}
            )
        for name, part in each.items():
            if choices.wants(name):
                scores[name] = _mark(found, part)
                if isinstance(part, float) and math.isnan(part):
                    failed.append(name)
    return scores, tuple(failed)


def _mark(found: Row, value: Any) -> float | None:
    if isinstance(value, str):
        mark = _MARKS.get(value, _MARKS.get(value.lower()))
        if mark is not None:
            return mark
        try:
            value = float(value)
        except ValueError:
            raise found.refuse("value", f"is {value[:40]!r}, not a number; choose other scores: --score") from None
    return Row(found.file, found.number, {"value": value}, found.path).number_or_none("value")

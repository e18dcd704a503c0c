"""Published sets of k replies a prompt with scores: repeated sampling, best-of-k benchmarks, judged lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from alignment_limits.importers.generic import NOT_SCORES
from alignment_limits.importers.rows import Choices, Row, Sample, clean
from alignment_limits.importers.sources import Source

_REPLY = re.compile(r"response_(\d+)")


def _list_samples(
    row: Row, prompt: str, replies: Sequence[str], scores: dict[str, list[float | None]], **more: object
) -> Iterator[Sample]:
    for i, reply in enumerate(replies):
        own = {name: values[i] for name, values in scores.items()}
        yield Sample(row.file, row.number, prompt, reply=reply, scores=own, **more)  # type: ignore[arg-type]


def read_monkeys(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Files like those of Large Language Monkeys: `samples` and `is_corrects` of a problem, as YAML, JSON or Parquet.

    Raises:
        TableError: the lists differ in length, or a field has another type.
    """
    for row in (row for source in sources for row in source.rows):
        prompt = row.prompt("prompt" if row.has("prompt") else "question")
        name = "is_corrects" if row.has("is_corrects") else "is_correct"
        scores = {}
        if row.has(name) and choices.wants("correct"):
            row.same_length(["samples", name])
            scores["correct"] = row.numbers(name)
        yield from _list_samples(row, prompt, row.texts("samples"), scores)


def read_ensembles(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Answers with `gold_scores`, and `proxy_scores` where there are any, as in Coste et al. (2023).

    Raises:
        TableError: the lists differ in length, or a field has another type.
    """
    for row in (row for source in sources for row in source.rows):
        more = row.optional_text("input")
        prompt = row.text("instruction") + (f"\n{more}" if more else "")
        names = [n for n in ("gold_scores", "proxy_scores", "ensemble_variance") if row.has(n) and choices.wants(n)]
        row.same_length(["answers", *names])
        yield from _list_samples(row, prompt, row.texts("answers"), {name: row.numbers(name) for name in names})


def read_ppe(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Best-of-k sets of PPE: `response_1…k` and `scores`, which say whether each is correct; one row a model.

    Raises:
        TableError: there are not as many scores as replies, or a field has another type.
    """
    for row in (row for source in sources for row in source.rows):
        columns = sorted((int(m[1]), name) for name in row.values if (m := _REPLY.fullmatch(name)) and row.has(name))
        replies = [row.text(name) for _, name in columns]
        correct = row.numbers("scores")
        if len(correct) != len(replies):
            raise row.refuse("scores", f"has {len(correct)} values for {len(replies)} replies")
        key = row.word("question_id") or row.word("uid")
        model = row.word("model_name")
        scores = {"correct": correct} if choices.wants("correct") else {}
        law = {} if model is None else {"model": model}
        yield from _list_samples(row, row.prompt("prompt"), replies, scores, key=key, law=law)


def is_rewardbench(source: Source) -> bool:
    """Whether a file has RewardBench 2's replies, or the scores of a reward model on them."""
    keys = source.first.values.keys()
    return "num_correct" in keys and ({"chosen", "rejected"} <= keys or {"scores", "text"} <= keys)


def read_rewardbench(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """RewardBench 2: correct replies, then wrong ones, of several models; or a reward model's scores of these.

    Raises:
        TableError: the lists differ in length, or a field has another type.
    """
    for row in (row for source in sources for row in source.rows):
        scores: dict[str, list[float | None]] = {}
        prompt = row.prompt("prompt") if row.has("prompt") else None
        if row.has("chosen"):
            replies = [*row.texts("chosen"), *row.texts("rejected")]
            correct = len(row.items("chosen"))
        else:
            row.same_length(["text", "scores"])
            prompt, replies = _texts(row, prompt)
            correct = int(row.number_or_none("num_correct") or 0)
            scores[row.word("model") or "score"] = _scores(row)
        scores["correct"] = [float(i < correct) for i in range(len(replies))]
        models = row.items("models") if isinstance(row.values.get("models"), list) else []
        key = row.word("id")
        for i, reply in enumerate(replies):
            own = {name: values[i] for name, values in scores.items() if choices.wants(name)}
            law = {"model": clean(str(models[i]))} if len(models) == len(replies) else {}
            yield Sample(row.file, row.number, prompt, key, reply, own, law=law)


def _texts(row: Row, prompt: str | None) -> tuple[str | None, list[str]]:
    """The prompt and the replies of scored conversations; a conversation that is one text is the reply."""
    replies = []
    for i, given in enumerate(row.items("text")):
        if isinstance(given, list) and len(given) > 1:
            prompt = row.conversation(f"text.{i}", given[:-1])
            given = row.conversation(f"text.{i}", given[-1:])
        if not isinstance(given, str):
            raise row.refuse(f"text.{i}", "is not text")
        replies.append(given)
    return prompt, replies


def _scores(row: Row) -> list[float | None]:
    """Scores, each of which may be in a list of its own."""
    flat = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in row.items("scores")]
    return Row(row.file, row.number, {"scores": flat}, row.path).numbers("scores")


def read_ultrafeedback(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """UltraFeedback: completions of several models with ratings of a judge. A rating such as N/A is a failed one.

    Raises:
        TableError: a field has another type.
    """
    for row in (row for source in sources for row in source.rows):
        prompt = row.text("instruction")
        for completion in row.each("completions"):
            scores: dict[str, float | None] = {}
            failed = []
            for aspect in completion.inside("annotations").values:
                if choices.wants(aspect):
                    scores[aspect] = _rating(completion.inside("annotations").inside(aspect), "Rating")
                    failed += [aspect] * (scores[aspect] is None)
            for name in ("overall_score", "fine-grained_score"):
                if completion.has(name) and choices.wants(name):
                    scores[name] = _rating(completion, name)
                    failed += [name] * (scores[name] is None)
            law = {"model": completion.word("model"), "system": completion.optional_text("custom_system_prompt")}
            yield Sample(
                row.file,
                row.number,
                prompt,
                reply=completion.text("response"),
                scores=scores,
                failed=tuple(failed),
                law={name: value for name, value in law.items() if value},
            )


def _rating(row: Row, name: str) -> float | None:
    given = row.values.get(name)
    if isinstance(given, str) and given.strip().upper() in ("N/A", "NA", "NONE", ""):
        return None
    return row.number_or_none(name, texts=True)


def read_distilabel(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Lists of distilabel: `generations` with `ratings`, `scores` or other lists of numbers, from judges.

    A missing rating, and a list of another length than the replies, is a failed judgement.

    Raises:
        TableError: a field has another type.
    """
    rows = [row for source in sources for row in source.rows]
    names = dict.fromkeys(
        n for row in rows for n, v in row.values.items() if isinstance(v, list) and n != "generations"
    )
    judged = [n for n in names if n.lower() not in NOT_SCORES and choices.wants(n) and _is_judged(n, rows)]
    makers = [n for n in ("generation_models", "generation_model", "model_names", "models") if n in names]
    for row in rows:
        replies = row.items("generations")
        given = {name: row.numbers(name) if row.has(name) else [] for name in judged}
        models = row.items(makers[0]) if makers and row.has(makers[0]) else []
        for i, reply in enumerate(replies):
            scores = {name: values[i] if len(values) == len(replies) else None for name, values in given.items()}
            failed = tuple(name for name, value in scores.items() if value is None)
            text = None if reply is None else row.texts("generations")[i] if None not in replies else clean(str(reply))
            yield Sample(
                row.file,
                row.number,
                row.prompt("instruction"),
                reply=text,
                scores=scores,
                failed=failed,
                law={"model": clean(str(models[i]))} if len(models) == len(replies) else {},
                error=None if text is not None else "no generation",
            )


def _is_judged(name: str, rows: Sequence[Row]) -> bool:
    """Whether a column has lists of numbers. Some other values are errors, not a reason to leave the column out."""
    values = [value for row in rows if isinstance(given := row.values.get(name), list) for value in given]
    known = [value for value in values if value is not None]
    return 2 * sum(isinstance(value, (bool, int, float)) for value in known) > len(known)

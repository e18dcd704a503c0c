"""Output of batch APIs: OpenAI's, and those of vLLM and LiteLLM in the same form. Requests and replies are separate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alignment_limits.errors import TableError
from alignment_limits.importers.rows import Choices, Row, Sample, content, settings
from alignment_limits.importers.sources import Source

_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def is_batch(source: Source) -> bool:
    """Whether a file has a batch's requests or its replies."""
    keys = source.first.values.keys()
    return "custom_id" in keys and bool({"response", "error", "body"} & keys)


def read_batches(sources: Sequence[Source], choices: Choices) -> Iterator[Sample]:
    """Replies of batches, with their prompts if the files of requests are given too.

    A request with several choices has several replies. Requests that failed are samples with an error.

    Raises:
        TableError: a field has another type, a reply without its request, a custom_id with two requests.
    """
    requests: dict[str, Row] = {}
    replies: list[Row] = []
    for row in (row for source in sources for row in source.rows):
        if row.has("body") and not row.has("response"):
            name = row.identity("custom_id")
            if name in requests and requests[name].values["body"] != row.values["body"]:
                raise row.refuse("custom_id", f"'{name}' has two different requests; import the batches separately")
            requests[name] = row
        else:
            replies.append(row)
    if not replies:
        raise TableError(f"{sources[0].name} has requests alone; give the file of replies too")
    if not requests:
        choices.guessed["prompts"] = "custom_id; give the batch's file of requests too, so that prompts are known"
    done = set()
    for row in replies:
        name = row.identity("custom_id")
        if requests and name not in requests:
            raise row.refuse("custom_id", f"'{name}' is not among the requests; give the batch's own file of requests")
        done.add(name)
        yield from _replies(row, requests.get(name))
    for name, row in requests.items():
        if name not in done:
            yield Sample(row.file, row.number, **_asked(row), error="no reply in the output")


def _asked(request: Row) -> dict[str, Any]:
    """The prompt, the law and the seed of a request."""
    body = request.inside("body")
    name = next((n for n in ("messages", "prompt", "input") if body.has(n)), None)
    if name is None:
        raise request.refuse("body", "has neither messages, prompt nor input")
    limit = next((n for n in _LIMITS if body.has(n)), "max_tokens")
    law = settings(body, {"max_tokens": limit})
    model, seed = body.word("model"), body.values.get("seed")
    prompt = body.prompt(name)
    if instructions := body.optional_text("instructions"):
        prompt = f"System: {instructions}\n\n{prompt}"
    law |= {} if model is None else {"model": model}
    return {"prompt": prompt, "law": law, "seed": seed if type(seed) is int else None}


def _replies(row: Row, request: Row | None) -> Iterator[Sample]:
    asked: dict[str, Any] = _asked(request) if request is not None else {"key": row.identity("custom_id")}
    problem = _problem(row)
    if problem is not None:
        yield Sample(row.file, row.number, **asked, error=problem)
        return
    body = row.inside("response").inside("body")
    if request is None and (model := body.word("model")) is not None:
        asked["law"] = {"model": model}
    if body.has("output"):
        yield _response(row, body, asked)
        return
    for choice in body.each("choices"):
        logprobs = choice.inside("logprobs")
        each: list[float] | None = None
        if logprobs.has("content"):
            each = [token.logprob("logprob", token.values.get("logprob")) for token in logprobs.each("content")]
        elif logprobs.has("token_logprobs"):
            each = logprobs.logprobs("token_logprobs")
        message = choice.inside("message")
        reply = choice.optional_text("text")
        if reply is None and (message.has("content") or message.has("refusal")):
            reply = content(message.values.get("content") or message.values.get("refusal"))
        yield Sample(
            row.file,
            row.number,
            reply=reply,
            tokens=choice.whole_numbers("token_ids") if choice.has("token_ids") else None,
            logprobs=each,
            finish=choice.optional_text("finish_reason"),
            error=None if reply is not None else "no text, such as a call of a tool",
            **asked,
        )


def _response(row: Row, body: Row, asked: dict[str, Any]) -> Sample:
    """A reply of the endpoint /v1/responses."""
    parts = [
        part for item in body.each("output") if item.values.get("type") == "message" for part in item.each("content")
    ]
    reply = "".join(content(part.values) for part in parts) if parts else None
    reason = body.inside("incomplete_details").word("reason")
    finish = "length" if reason == "max_output_tokens" else reason or body.word("status")
    error = None if parts else "no text, such as a call of a tool"
    return Sample(row.file, row.number, reply=reply, finish=finish, error=error, **asked)


def _problem(row: Row) -> str | None:
    """Why a request has no reply: an error of the batch, of HTTP, or within the body."""
    response = row.inside("response")
    status = response.number_or_none("status_code")
    for given in (row.values.get("error"), response.values.get("error"), response.inside("body").values.get("error")):
        if given:
            text = given.get("message") or given.get("code") if isinstance(given, Mapping) else given
            return f"{status:g}: {text}" if status and status != 200 else str(text)
    if status is not None and status != 200:
        return f"HTTP status {status:g}"
    body = response.inside("body")
    if not body.values.get("choices") and not body.has("output"):
        if not row.has("response"):
            raise row.refuse("response", "is missing, without an error; the file may be cut or of another format")
        return "no choices in the reply"
    return None

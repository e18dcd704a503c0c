"""Conversations as prompts: their checks, and their form as one text."""

from __future__ import annotations

from typing import Any

from alignment_limits.errors import TableError

Messages = list[dict[str, str]]
MESSAGES = "messages"  # the column with conversations


def check_messages(given: Any, where: str) -> Messages:
    """Messages with `role` and `content`: an optional system message, then turns of which the last is the user's.

    Raises:
        TableError: another shape, an unknown role, turns out of order, an empty or broken text; `where` is named first.
    """
    if not isinstance(given, list) or not given:
        raise TableError(f"{where} is not a list of messages, each with role and content")
    out: Messages = []
    for message in given:
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise TableError(f"{where} has a message without role and content")
        if extra := [key for key, value in message.items() if key not in ("role", "content") and value]:
            raise TableError(f"{where} has a message with {', '.join(extra)}; a model takes only role and content")
        role, content = message["role"], _content(message["content"])
        wanted = ("user", "assistant")[sum(m["role"] != "system" for m in out) % 2]
        if role not in (wanted, *(() if out else ("system",))):
            raise TableError(f"{where}: message {len(out) + 1} has the role '{role}'; expected '{wanted}'")
        if content is None or not content.strip():
            raise TableError(f"{where}: message {len(out) + 1} has no text")
        if "\0" in content or not _encodable(content):
            raise TableError(f"{where}: message {len(out) + 1} contains a NUL character or half a surrogate pair")
        out.append({"role": role, "content": content})
    if out[-1]["role"] != "user":
        raise TableError(f"{where} ends with the role '{out[-1]['role']}'; the last message must be the user's")
    return out


def as_text(messages: Messages) -> str:
    """A conversation as one text: the user's message if it is the only one, else all messages with their roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


def conversation(prompt: str | Messages, system: str | None) -> Messages:
    """A prompt as messages; `system` comes first if it is given and the prompt has no system message."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if system is None or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def default_system(rendered: str, with_system: str, mark: str) -> str:
    """The system message that a chat template adds where none is given; "" if it adds none.

    Args:
        rendered: a conversation without a system message, through the template; with_system: the same with the system
            message `mark` first.
    """
    before, _, after = with_system.partition(mark)
    end = rendered.rfind(after)
    if not rendered.startswith(before) or end < len(before):
        return ""
    return rendered[len(before) : end].strip()


def _content(given: Any) -> str | None:
    """A text, or a list of parts that are texts."""
    if isinstance(given, list):
        parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in given]
        return "".join(p for p in parts if p is not None) if parts and all(isinstance(p, str) for p in parts) else None
    return given if isinstance(given, str) else None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

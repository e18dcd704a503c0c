"""Read study files: YAML without repeated keys, with the line of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alignment_limits.errors import ConfigError

Keys = tuple[str, ...]
_MOST_BYTES, _MOST_KEYS = 200_000, 20_000  # YAML references to references can give any number of keys
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class StudyFile:
    """A study file: its name, its content, and the line of every key and list item."""

    name: str
    values: dict[str, Any]
    lines: dict[Keys, int]


def read_study_file(file: Path) -> StudyFile:
    """Read one study file.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or a repeated key; the message gives the lines.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                f"study file {str(file)!r} has {file.stat().st_size} bytes; at most {_MOST_BYTES} are read"
            )
        text = file.read_text("utf-8")
        node = yaml.compose(text, Loader=_LOADER)
    except OSError as error:
        raise ConfigError(f"study file {str(file)!r}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"study file {str(file)!r} is not YAML: {error}") from error
    if node is None:
        return StudyFile(file.name, {}, {})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"study file {str(file)!r} contains no keys; begin it with `study: <name>`")
    lines: dict[Keys, int] = {}
    twice = []
    for keys, line in _walk(node, (), ()):
        if keys in lines:
            twice.append(f"  - {'.'.join(keys)}: lines {lines[keys]} and {line}; keep one of them")
        lines.setdefault(keys, line)
        if len(lines) > _MOST_KEYS:
            raise ConfigError(f"study file {str(file)!r} contains more than {_MOST_KEYS} keys and values")
    if twice:
        raise ConfigError(f"{file}: {len(twice)} key(s) occur twice:\n" + "\n".join(twice))
    return StudyFile(file.name, yaml.load(text, Loader=_LOADER), lines)


def where(keys: Sequence[str], files: Sequence[StudyFile], message: str = "") -> str:
    """The place of a problem's key: its line, with the file's name if there are several files; "" if not found.

    Args:
        keys: the key's path; empty for a problem between keys: then the keys named in `message` are searched.
    """
    path = tuple(keys)
    named = [path] if path else [tuple(word.rstrip(".").split(".")) for word in re.findall(r"[\w.-]+", message)]
    found = []
    for name in named:
        set_in = [(file, file.lines[name]) for file in files if name in file.lines]
        if not set_in and name == path and len(path) > 1:
            return where(path[:-1], files)  # a missing key: its section
        inside = any(len(key) > len(name) and key[: len(name)] == name for file in files for key in file.lines)
        found += set_in if inside else set_in[-1:]  # the last file decides a value
    shown = dict.fromkeys(f"{file.name} line {line}" if len(files) > 1 else f"line {line}" for file, line in found)
    return f" ({', '.join(shown)})" if shown else ""


def _walk(node: yaml.Node, keys: Keys, inside: tuple[yaml.Node, ...]) -> Iterator[tuple[Keys, int]]:
    if node in inside:
        raise ConfigError(f"{'.'.join(keys)}: refers to itself (line {node.start_mark.line + 1}); remove the reference")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                yield (*keys, str(key.value)), key.start_mark.line + 1
                yield from _walk(value, (*keys, str(key.value)), (*inside, node))
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*keys, str(i)), value.start_mark.line + 1
            yield from _walk(value, (*keys, str(i)), (*inside, node))

"""What is wrong in a study file, in words: the key's path, the problem, and what to write instead."""

from __future__ import annotations

import datetime
import difflib
import math
import types
import typing
from typing import Any

from pydantic import BaseModel

from alignment_limits.study.study import Study


def said_of(error: Any) -> tuple[str, list[str]]:
    """A problem's message, and its key's path.

    Args:
        error: one of pydantic's `ValidationError.errors()`.
    """
    keys, _ = _follow(error["loc"])
    return _said(error, keys), keys


def _said(error: Any, keys: list[str]) -> str:
    path = ".".join(keys)
    if error["type"] == "extra_forbidden":
        _, parent = _follow(error["loc"][:-1])
        valid = list(_fields(parent))
        return f"{path}: unknown key; {_nearest(keys[-1], valid) or 'valid keys here: ' + ', '.join(valid)}"
    if error["type"] == "missing":
        return f"{path}: missing"
    if error["type"] == "union_tag_invalid":
        given, tags = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{path}.kind: '{given}' is none of {', '.join(tags)}; {_nearest(given, tags)}".rstrip("; ")
    message, value = error["msg"].removeprefix("Value error, "), error["input"]
    shown = ""
    if isinstance(value, str | int | float | bool):
        shown = f" (given: {value!r})" if len(str(value)) <= 100 else f" (given: {str(value)[:60]!r}…)"
    return f"{path or 'the study'}: {message}{shown}{_how_to_write(error['type'], value)}"


def _how_to_write(problem: str, value: Any) -> str:
    """What to write instead, if YAML reads a value as an unexpected type."""
    if problem in ("float_type", "int_type") and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return ""
        if not math.isfinite(number):
            return ""
        whole = number == int(number) and (problem == "int_type" or abs(number) < 1e6)
        return f"; YAML reads this as text: write {int(number) if whole else _point(number)}"
    if problem == "string_type" and isinstance(value, bool | int | float | datetime.date):
        return "; put it in quotes"
    return ""


def _point(number: float) -> str:
    """A number with the point that YAML 1.1 requires: 1.0e-05."""
    digits, e, exponent = repr(number).partition("e")
    return (digits if "." in digits else f"{digits}.0") + e + exponent


def _nearest(word: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def _follow(loc: tuple[Any, ...]) -> tuple[list[str], Any]:
    """Keys of the file along an error's location, and the type found at its end.

    pydantic puts a union's tag into the location (`rewards, vader, lexicon, sign`), which is not a key of the file.
    """
    here: Any = Study
    keys: list[str] = []
    for part in loc:
        tagged = _tagged_variants(here)
        if part in tagged:
            here = tagged[part]
        else:
            keys.append(str(part))
            here = _child(here, part)
    return keys, here


def _tagged_variants(tp: Any) -> dict[str, Any]:
    if typing.get_origin(tp) not in (typing.Union, types.UnionType):
        return {}
    models = [m for m in typing.get_args(tp) if "kind" in getattr(m, "model_fields", {})]
    return {tag: m for m in models for tag in typing.get_args(m.model_fields["kind"].annotation)}


def _fields(tp: Any) -> dict[str, Any]:
    """Fields of a section, by their names in study files."""
    return {field.alias or name: field for name, field in getattr(tp, "model_fields", {}).items()}


def _child(tp: Any, part: Any) -> Any:
    if isinstance(tp, type) and issubclass(tp, BaseModel):
        found = field.annotation if (field := _fields(tp).get(part)) else None
    else:
        found = typing.get_args(tp)[-1] if typing.get_args(tp) else None
    if typing.get_origin(found) is typing.Annotated:
        found = typing.get_args(found)[0]
    if typing.get_origin(found) in (typing.Union, types.UnionType):  # an optional section
        given = [t for t in typing.get_args(found) if t is not type(None)]
        return given[0] if len(given) == 1 else found
    return found

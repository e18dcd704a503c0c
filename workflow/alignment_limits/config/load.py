"""Turn a mapping (the parsed YAML) into a `Study`, or into one message a user can act on."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from alignment_limits.config.study import Study
from alignment_limits.errors import ConfigError


def load_study(config: Mapping[str, Any], file: str = "config") -> Study:
    """Validate a study file.

    Raises:
        ConfigError: one line per problem: the key's path, what is wrong, and the nearest valid key.
    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        lines = [_line(e) for e in error.errors()]
        raise ConfigError(f"{file} has {len(lines)} problem(s):\n" + "\n".join(f"  - {x}" for x in lines)) from None


# Mappings a study file replaces as a whole: mixed with the default's they would mean nothing.
_WHOLE = {"source", "rewards", "ensembles"}
_MADE_BY_MODELS = {"model", "prompts", "sampling", "gold", "rewards", "ensembles"}


def over_default(default: Mapping[str, Any], study: Mapping[str, Any]) -> dict[str, Any]:
    """A study file laid over the default one: keys it leaves out keep the default's values.

    `source`, `rewards` and `ensembles` are taken as a whole; with rewards of its own, a study that names
    no ensembles has none; one that brings its scores, or has a world of its own, needs nothing that makes them.
    """
    merged = dict(default)
    if "scores" in study or "learning" in study:
        merged = {k: v for k, v in merged.items() if k not in _MADE_BY_MODELS}
    if "rewards" in study:
        merged["ensembles"] = {}
    for key, value in study.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in _WHOLE
        merged[key] = over_default(merged[key], value) if both else value
    return merged


def _line(error: Any) -> str:
    keys, _ = _follow(error["loc"])
    path = ".".join(keys)
    if error["type"] == "extra_forbidden":
        _, parent = _follow(error["loc"][:-1])
        valid = list(getattr(parent, "model_fields", {}))
        return f"{path}: unknown key; {_nearest(keys[-1], valid) or 'valid keys here: ' + ', '.join(valid)}"
    if error["type"] == "missing":
        return f"{path}: missing"
    if error["type"] == "union_tag_invalid":
        given, tags = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{path}.kind: '{given}' is none of {', '.join(tags)}; {_nearest(given, tags)}".rstrip("; ")
    message = error["msg"].removeprefix("Value error, ")
    shown = f" (given: {error['input']!r})" if isinstance(error["input"], str | int | float | bool) else ""
    return f"{path or 'the study'}: {message}{shown}"


def _nearest(word: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def _follow(loc: tuple[Any, ...]) -> tuple[list[str], Any]:
    """Keys of the file along an error's location, and the type found at its end.

    pydantic puts a union's tag into the location (`rewards, vader, lexicon, sign`); the file has no such key.
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


def _child(tp: Any, part: Any) -> Any:
    if isinstance(tp, type) and issubclass(tp, BaseModel):
        found = tp.model_fields[part].annotation if part in tp.model_fields else None
    else:
        found = typing.get_args(tp)[-1] if typing.get_args(tp) else None
    if typing.get_origin(found) is typing.Annotated:
        found = typing.get_args(found)[0]
    if typing.get_origin(found) in (typing.Union, types.UnionType):  # an optional section
        given = [t for t in typing.get_args(found) if t is not type(None)]
        return given[0] if len(given) == 1 else found
    return found

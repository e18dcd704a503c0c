"""From study files to a `Study`, or to one message with all problems, each with its line; check that files exist."""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from alignment_limits.errors import AlignmentLimitsError, ConfigError
from alignment_limits.files import digest
from alignment_limits.study.estimates import Limits
from alignment_limits.study.messages import said_of
from alignment_limits.study.sampling import Documents, Sampling
from alignment_limits.study.study import Study

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
        if (size := file.stat().st_size) > _MOST_BYTES:
            raise ConfigError(f"study file {str(file)!r} has {size} bytes; at most {_MOST_BYTES} are read")
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


def missing_files(study: Mapping[str, Any], here: Path) -> Iterator[tuple[list[str], str]]:
    """Keys of a study whose files do not exist, with a message for each.

    Args:
        study: as the user wrote it; it may have other errors.
        here: the folder for relative paths.
    """
    for section, key in (("scores", "table"), ("samples", "table"), ("samples", "prompts"), ("preferences", "table")):
        table = _mapping(study.get(section)).get(key)
        if isinstance(table, str) and not _exists(here, table):
            yield [section, key], f"the file {table} does not exist"
    for section in ("scores", "samples"):
        imported = _mapping(_mapping(study.get(section)).get("import")).get("files")
        for i, file in enumerate(imported if isinstance(imported, list) else []):
            if isinstance(file, str) and not _exists(here, file):
                yield [section, "import", "files", str(i)], f"{file} does not exist"
    for keys, source in _sources(study):
        path, member = source.get("path"), source.get("member")
        if isinstance(path, str) and not _exists(here, path):
            yield [*keys, "path"], f"{path} does not exist"
        elif isinstance(path, str) and isinstance(member, str) and not _exists(here, os.path.join(path, member)):
            yield [*keys, "member"], f"{path} contains no {member}"
    policies = study.get("policies")
    for i, policy in enumerate(policies if isinstance(policies, list) else []):
        adapter = _mapping(policy).get("adapter")
        if isinstance(adapter, str) and not _mapping(policy).get("revision") and not _exists(here, adapter):
            yield ["policies", str(i), "adapter"], f"{adapter} does not exist"


def count_prompts(prompts: Mapping[str, Any], documents: Mapping[str, Any] | None, here: Path) -> int | None:
    """Number of prompts in a local source; None for a source that must be fetched first.

    The number is stored in the environment, so that the jobs of a run do not count again.

    Raises:
        PromptError: the source cannot be used.
    """
    source = _mapping(prompts.get("source"))
    if not isinstance(source.get("path"), str):
        return None
    path = Path(here, source["path"], str(source.get("member") or "")).expanduser()
    files = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
    state = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    column = prompts.get("text_column") or "text"
    key = f"ALIGNMENT_LIMITS_PROMPTS_{digest([state, column, documents, prompts.get('template')])}"
    if key not in os.environ:
        # imported here, as importing polars takes 0.1 s
        from alignment_limits.tables.prompts import conversations, read_documents, read_prompts

        table = read_documents(path, **documents) if documents else read_prompts(path, str(column))
        if not documents:
            conversations(table, str(prompts.get("template") or "none"))
        os.environ[key] = str(table.height)
    return int(os.environ[key])


def with_count(study: Mapping[str, Any], given: Mapping[str, Any], here: Path) -> tuple[dict[str, Any], list[str]]:
    """A study with a number as `prompts.count`, and the problems of its prompts.

    Args:
        study: merged with the default. given: what the user wrote; null means all prompts; a default is reduced to
            the number of prompts.
    """
    prompts, out = dict(_mapping(study.get("prompts"))), dict(study)
    if not prompts:
        return out, []
    wrote = "count" in _mapping(given.get("prompts"))
    count = prompts.get("count")
    try:
        there = count_prompts(prompts, _documents(study), here)
    except ConfigError:
        return out, []  # the documents' settings are wrong, which is reported elsewhere
    except (AlignmentLimitsError, OSError) as error:
        return out, [f"prompts.source.path: {error}"]
    problems = []
    if there is not None:
        if count is None:
            prompts["count"] = there
        elif type(count) is int and count > there:
            if wrote:
                problems = [f"prompts.count: is {count}, but the source has only {there} prompts; null takes all"]
            else:
                prompts["count"] = there
    return out | {"prompts": prompts}, problems


def _documents(study: Mapping[str, Any]) -> dict[str, Any] | None:
    if study.get("documents") is None:
        return None
    try:
        return Documents.model_validate(study["documents"]).model_dump()
    except ValidationError as error:
        raise ConfigError("documents") from error


def _sources(study: Mapping[str, Any]) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    """Every section of a study that gives a source."""
    for section in ("model", "prompts"):
        yield [section, "source"], _mapping(_mapping(study.get(section)).get("source"))
    for name, reward in _mapping(study.get("rewards")).items():
        for key in ("source", "features"):
            yield ["rewards", str(name), key], _mapping(_mapping(reward).get(key))
    yield ["preferences", "features"], _mapping(_mapping(study.get("preferences")).get("features"))
    labels = _mapping(study.get("gold_labels"))
    yield ["gold_labels", "sweep", "features"], _mapping(_mapping(labels.get("sweep")).get("features"))
    policies = study.get("policies")
    for i, policy in enumerate(policies if isinstance(policies, list) else []):
        yield ["policies", str(i)], _mapping(policy)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _exists(here: Path, path: str) -> bool:
    try:
        return Path(here, Path(path).expanduser()).exists()
    except (OSError, RuntimeError, ValueError):  # too long, no home folder, NUL
        return False


_SHOWN = 30
_LEAST_BLOCK = 4


def load_study(
    config: Mapping[str, Any],
    file: str = "config",
    *,
    files: Sequence[StudyFile] = (),
    given: Mapping[str, Any] | None = None,
    here: Path | None = None,
) -> Study:
    """Validate a study.

    Args:
        config: the study merged with the default. file: its name, for the message.
        files: the study files as written, for line numbers.
        given: the part that the user wrote. If given, defaults are reduced to the available numbers: prompts.count to
            the prompts of a local source, limits.best_of and sampling.block to the samples.
        here: the folder for relative paths; if given, every file that the study names must exist.

    Raises:
        ConfigError: one line per problem: the key's path, the problem, the nearest valid key, and the line.
    """
    problems: list[str] = []
    study = dict(config)
    if here is not None:
        absent = list(missing_files(study, here))
        problems += [f"{'.'.join(keys)}: {what}{where(keys, files)}" for keys, what in absent]
        if given is not None and not any(keys[0] == "prompts" for keys, _ in absent):
            study, of_prompts = with_count(study, given, here)
            problems += [line + where(["prompts", "source"], files) for line in of_prompts]
    if given is not None:
        study = fit_to_samples(study, given)
    try:
        found = Study.model_validate(study)
        if not problems:
            return found
    except ValidationError as error:
        problems = [_line(e, files) for e in error.errors()] + problems
    shown = problems[:_SHOWN] + ([f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else [])
    raise ConfigError(f"{file} has {len(problems)} problem(s):\n" + "\n".join(f"  - {x}" for x in shown))


def fit_to_samples(study: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A study whose defaults of `limits.best_of` and `sampling.block` fit its samples; the user's values stay."""
    out = dict(study)
    sampling, limits = out.get("sampling"), out.get("limits") or {}
    if not isinstance(sampling, Mapping):
        return out
    labels = out.get("gold_labels")
    counts: list[Any] = [sampling.get("samples_per_prompt"), sampling.get("policy_samples_per_prompt")]
    counts += [labels.get("samples_per_prompt")] if isinstance(labels, Mapping) else []
    counts = [count for count in counts if count is not None]
    if not counts or not all(type(count) is int and count > 0 for count in counts):
        return out
    if isinstance(limits, Mapping) and "best_of" not in (given.get("limits") or {}):
        kept = [n for n in limits.get("best_of") or Limits.model_fields["best_of"].default if n <= counts[0]]
        out["limits"] = {**limits, "best_of": kept}
    block = sampling.get("block", Sampling.model_fields["block"].default)
    if type(block) is int and "block" not in (given.get("sampling") or {}):
        common = math.gcd(*counts)
        fitting = max(n for n in range(1, min(block, common) + 1) if common % n == 0)
        # one seed for one or two samples would be slow: such numbers are refused, and the message suggests another
        if fitting >= min(common, _LEAST_BLOCK):
            out["sampling"] = {**sampling, "block": fitting}
    return out


# Mappings that a study file replaces completely: mixed with those of the default they would have no meaning.
_WHOLE = {"source", "rewards", "ensembles"}
_MADE_BY_MODELS = {"model", "prompts", "sampling", "gold", "rewards", "ensembles"}


def over_default(default: Mapping[str, Any], study: Mapping[str, Any]) -> dict[str, Any]:
    """A study file merged with the default: missing keys get the default's values.

    `source`, `rewards` and `ensembles` are replaced completely. A study with its own rewards that names no ensembles
    has none. A study with samples, with scores, or with its own world, does not get the sections that create samples.
    """
    merged = dict(default)
    if any(study.get(start) is not None for start in ("scores", "samples", "learning")):
        merged = {k: v for k, v in merged.items() if k not in _MADE_BY_MODELS}
    if study.get("rewards") is not None:
        merged["ensembles"] = {}
    for key, value in study.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in _WHOLE
        if key == "date" and isinstance(value, datetime.date):  # as YAML reads 2024-07-26; JSON cannot write it
            value = value.isoformat()
        merged[key] = over_default(merged[key], value) if both else value
    return merged


def _line(error: Any, files: Sequence[StudyFile] = ()) -> str:
    said, keys = said_of(error)
    return said + where(keys, files, said.removeprefix("the study: "))

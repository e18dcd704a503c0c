"""Files of the user's own that a study names: whether they are there, and how many prompts they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alignment_limits.errors import AlignmentLimitsError, ConfigError
from alignment_limits.files import digest


def missing_files(study: Mapping[str, Any], here: Path) -> Iterator[tuple[list[str], str]]:
    """Keys of a study whose files do not exist, and what to say of each.

    Args:
        study: as it was written, perhaps wrong in other places.
        here: the folder that relative paths are of.
    """
    for section in ("scores", "preferences"):
        table = _mapping(study.get(section)).get("table")
        if isinstance(table, str) and not _exists(here, table):
            yield [section, "table"], f"the file {table} does not exist"
    for keys, source in _sources(study):
        if isinstance(path := source.get("path"), str) and not _exists(here, path):
            yield [*keys, "path"], f"{path} does not exist"
        elif (
            isinstance(path, str)
            and isinstance(member := source.get("member"), str)
            and not _exists(here, os.path.join(path, member))
        ):
            yield [*keys, "member"], f"{path} contains no {member}"
    policies = study.get("policies")
    for i, policy in enumerate(policies if isinstance(policies, list) else []):
        adapter = _mapping(policy).get("adapter")
        if isinstance(adapter, str) and not _mapping(policy).get("revision") and not _exists(here, adapter):
            yield ["policies", str(i), "adapter"], f"{adapter} does not exist"


def count_prompts(prompts: Mapping[str, Any], documents: Mapping[str, Any] | None, here: Path) -> int | None:
    """How many prompts a local source has; None for one that must be fetched first.

    The number is kept in the environment, so that the jobs of a run do not count again.

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
        from alignment_limits.documents import read_documents  # only here: polars takes a tenth of a second to import
        from alignment_limits.prompts import conversations, read_prompts

        table = read_documents(path, **documents) if documents else read_prompts(path, str(column))
        if not documents:
            conversations(table, str(prompts.get("template") or "none"))
        os.environ[key] = str(table.height)
    return int(os.environ[key])


def with_count(study: Mapping[str, Any], given: Mapping[str, Any], here: Path) -> tuple[dict[str, Any], list[str]]:
    """A study whose `prompts.count` is a number, and what is wrong with its prompts.

    Args:
        study: over the default. given: what the user wrote: null is all there are; a default never asks for more.
    """
    prompts, out = dict(_mapping(study.get("prompts"))), dict(study)
    if not prompts:
        return out, []
    wrote = "count" in _mapping(given.get("prompts"))
    count = prompts.get("count")
    try:
        there = count_prompts(prompts, _documents(study), here)
    except ConfigError:
        return out, []  # the documents' settings are wrong, which is said elsewhere
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
    from pydantic import ValidationError

    from alignment_limits.config.documents import Documents

    if study.get("documents") is None:
        return None
    try:
        return Documents.model_validate(study["documents"]).model_dump()
    except ValidationError as error:
        raise ConfigError("documents") from error


def _sources(study: Mapping[str, Any]) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    """Every place of a study that says where something comes from."""
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
    except (OSError, RuntimeError, ValueError):  # too long, no such home, NUL
        return False

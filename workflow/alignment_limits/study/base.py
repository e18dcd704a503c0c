"""Shared by all sections of the study file: strict types, paths, names, and sources of files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

Name = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100, description="lower-case name used in folders")
]


def _inside(name: str) -> str:
    """A path that cannot lead out of its folder."""
    if not name or not name.isprintable() or "\\" in name:
        raise ValueError(f"must be the plain name of a file or folder inside the source, not {name!r}")
    if name.startswith(("/", "~", "-")) or ".." in PurePosixPath(name).parts:
        raise ValueError(
            f"must be inside the source: no absolute path, no '..', no '~' or '-' at the beginning (given: {name!r})"
        )
    return name


Inside = Annotated[str, AfterValidator(_inside)]


def _label(name: str) -> str:
    """A name given by users: of a reward, a column of a table, a policy."""
    if not name.isprintable() or name != name.strip() or not name:
        raise ValueError("a name must not contain control characters, nor begin or end with a space")
    if bad := [c for c in "{}<>$" if c in name] or [c for c in (name, name[0]) if c in ("*", "^")]:
        raise ValueError(f"a name must not contain '{bad[0]}', as tables, figures and patterns use it; rename it")
    if name.startswith("_"):
        raise ValueError("a name must not begin with '_': figures omit such names from their legends; rename it")
    if name in ("prompt_id", "sample_id"):
        raise ValueError("this is the name of a key of every table; rename the column")
    return name


# any name that people give to models, rewards and columns; `file_name` turns it into a file's name
Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_label)]


def _path(path: str) -> str:
    """A path that Snakemake accepts unchanged, short enough for any disk."""
    if bad := [c for c in "{}<>" if c in path]:
        raise ValueError(f"a path must not contain '{bad[0]}', which Snakemake reads as a pattern; rename it")
    if not path.isprintable() or not path.strip():
        raise ValueError("a path must not be empty nor contain control characters, such as a line end; rename it")
    if len(path.encode()) > 4000 or max(len(part.encode()) for part in path.split("/")) > 255:
        raise ValueError("this path is longer than disks allow; shorten it")
    return path


UserPath = Annotated[str, AfterValidator(_path)]


def _count(given: object) -> object:
    if given is None:
        raise ValueError(
            "null (all prompts) is for a local `path:` only; for a package or a hub repository the number is not known "
            "before it is fetched: give a number"
        )
    return given


# null is replaced by the number of prompts before a study is validated
PromptCount = Annotated[
    int,
    BeforeValidator(_count),
    Field(ge=1, le=10_000_000),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000_000}, {"type": "null"}]}),
]


def _ordered(bounds: list[float]) -> list[float]:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"the lowest score comes first and is below the highest: [0, 1], not {bounds}")
    return bounds


Bounds = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class Strict(BaseModel):
    """Base of all sections: no unknown keys, no values of another type (true is not a number), immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


# Every value begins with a letter or digit, so no program can read it as an option.
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*@[0-9a-f]{40}")


class Source(Strict):
    """The source of a model or data set; exactly one of `package`, `hub`, `path`."""

    package: str | None = Field(None, description="a package of the configured index, 'name==version'")
    hub: str | None = Field(None, description="a Hugging Face repository, 'owner/name@<40-digit commit>'")
    path: UserPath | None = Field(None, description="a local file or folder")
    member: Inside | None = Field(
        None, description="file or folder inside the package or repository; default: all of it"
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="of the package's wheel, or of the file that `path` names",
    )
    kind: Literal["model", "dataset"] = Field("model", description="which kind of hub repository")

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [k for k in ("package", "hub", "path") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of package, hub, path (given: {', '.join(given) or 'none'})")
        if self.package:
            if not _PACKAGE.fullmatch(self.package):
                raise ValueError(f"package must be pinned as 'name==version', not '{self.package}'")
            if not self.sha256:
                raise ValueError(
                    f"package {self.package} needs the sha256 of its wheel, so that no other file is ever loaded"
                )
        if self.hub and (not _HUB.fullmatch(self.hub) or ".." in self.hub):
            raise ValueError(
                f"hub must be pinned as 'owner/name@<40-digit commit>', not '{self.hub}'; "
                "the commit is on the repository's page under 'History'"
            )
        if self.path and (self.path.startswith("-") or not self.path.isprintable()):
            raise ValueError(
                f"path must not begin with '-' nor contain control characters: {self.path!r}; write './-name', or "
                "rename it"
            )
        if self.sha256 and self.hub:
            raise ValueError("sha256 is for packages and paths; leave it out, as a hub commit already pins its files")
        return self


_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OUR_FILES = (".parquet", ".json", ".html", ".pdf", ".png", ".log", ".tsv", ".npz", ".safetensors", ".part")
_LONGEST = 80


class Endpoint(Strict):
    """A server that speaks OpenAI's protocol."""

    url: str = Field(pattern=r"^https?://\S+$", description="with its version, such as http://127.0.0.1:8000/v1")
    model: str | None = Field(None, description="the model's name on the server; default: the only one there")
    concurrency: int = Field(64, ge=1, le=10_000, description="requests under way at once")
    retries: int = Field(10, ge=0, le=1000, description="of a request, with growing pauses of up to 8 seconds")
    timeout: float = Field(600.0, gt=0, description="seconds that a request may take")
    key: str | None = Field(None, description="the environment variable with the server's key")


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be 1 or -1")  # in Python, True equals 1
    return value


Sign = Annotated[Literal[-1, 1], BeforeValidator(_no_boolean)]


class Noted(Strict):
    """Settings of every reward."""

    light: ClassVar[bool] = False  # thousands of texts per second on one core: too little work for a cluster job
    neural: ClassVar[bool] = False  # torch computes it, so its jobs take a GPU where there is one

    decides_nothing: ClassVar[Any] = {"note", "bounds", "gpu"}  # of a score

    note: str = Field("", description="a caveat that the report prints next to the reward")
    bounds: Bounds | None = Field(
        None,
        description="the lowest and the highest possible score, after `sign`; give them where the reward has them, "
        "such as [0, 1] of a pass rate: the limit then has an upper bound",
    )

    @property
    def templated(self) -> bool:
        """Whether texts go through a chat template, which may print a date."""
        return getattr(self, "text", None) == "chat"


class RewardBase(Noted):
    """Settings of every reward that reads texts."""

    text: Literal["reply", "prompt+reply"] = Field("reply", description="text that the reward reads")
    reply: Literal["all", "after-thinking"] = Field(
        "all",
        description="after-thinking: what follows the last </think> of a reply, nothing of one that does not end "
        "its thinking; all: the reply as it is",
    )
    sign: Sign = Field(1, description="-1 turns a measure of badness (toxicity) into a reward")

    @model_serializer(mode="wrap")
    def _only_if_it_decides(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `reply: all`, so that rewards of such studies keep their ids."""
        written: dict[str, Any] = handler(self)
        return {key: value for key, value in written.items() if (key, value) != ("reply", "all")}


def file_name(name: str) -> str:
    """A unique file name on any disk: the name itself if it is plain, otherwise its plain characters and a digest.

    Names that differ in case, in accents or in replaced characters have different digests, so they never share files.
    No such name ends like a file of the workflow.

    Example:
        >>> file_name("brevity"), file_name("nvidia/Reward V2")
        ('brevity', 'nvidia-reward-v2-b0b07857')
    """
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST and not name.endswith((".", *_OUR_FILES)):
        return name
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")[: _LONGEST - 9].rstrip("-_")
    return f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def by_file_name(names: Iterable[str]) -> dict[str, str]:
    """Names by their file names.

    Raises:
        ValueError: two names would share files.
    """
    out: dict[str, str] = {}
    for name in names:
        if out.setdefault(file_name(name), name) != name:
            raise ValueError(
                f"'{out[file_name(name)]}' and '{name}' would share files named {file_name(name)}; rename one"
            )
    return out


def too_long(value: Any, keys: str = "the study") -> None:
    """Refuse texts of more than 10,000 characters and lists of more than 1,000 items, before all other checks.

    Raises:
        ValueError: names the key.
    """
    if isinstance(value, str) and len(value) > 10_000:
        raise ValueError(f"{keys} has {len(value)} characters; at most 10,000 are read")
    if isinstance(value, (dict, list)) and len(value) > 1_000:
        raise ValueError(f"{keys} has {len(value)} values; at most 1,000 are read")
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        too_long(inside, str(key) if keys == "the study" else f"{keys}.{key}")

"""What every section of the study file shares."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Name = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100, description="lower-case name used in folders")
]


def _inside(name: str) -> str:
    """A path that cannot lead out of the folder it is looked up in."""
    if not name or not name.isprintable() or "\\" in name:
        raise ValueError(f"must be the plain name of a file or folder inside the source, not {name!r}")
    if name.startswith(("/", "~", "-")) or ".." in PurePosixPath(name).parts:
        raise ValueError(
            f"must lie inside the source: no absolute path, no '..', no '~' or '-' first (given: {name!r})"
        )
    return name


Inside = Annotated[str, AfterValidator(_inside)]


def _label(name: str) -> str:
    """A name as users have it: of a reward, a column of a table, a policy."""
    if not name.isprintable() or name != name.strip() or not name:
        raise ValueError("a name has no control characters, and no space before or behind it")
    if bad := [c for c in "{}<>$" if c in name] or [c for c in (name, name[0]) if c in ("*", "^")]:
        raise ValueError(f"a name contains no '{bad[0]}': it stands in tables, figures and patterns; rename it")
    if name.startswith("_"):
        raise ValueError("a name does not begin with '_': figures leave such names out of their legends; rename it")
    if name in ("prompt_id", "sample_id"):
        raise ValueError("this is the name of a key of every table; rename the column")
    return name


# any name that people give to models, rewards and columns; `names.file_name` makes files' names of them
Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_label)]


def _path(path: str) -> str:
    """A path that Snakemake takes as it is, short enough for any disk."""
    if bad := [c for c in "{}<>" if c in path]:
        raise ValueError(f"a path must not contain '{bad[0]}', which Snakemake reads as a pattern; rename it")
    if not path.isprintable() or not path.strip():
        raise ValueError("a path must not be empty nor contain control characters, such as a line end; rename it")
    if len(path.encode()) > 4000 or max(len(part.encode()) for part in path.split("/")) > 255:
        raise ValueError("this path is longer than disks allow")
    return path


UserPath = Annotated[str, AfterValidator(_path)]


def _count(given: object) -> object:
    if given is None:
        raise ValueError(
            "null (all prompts) is for a local `path:`; how many a package or a hub repository has is known only "
            "once it is fetched: give a number"
        )
    return given


# null is replaced by their number before a study is validated
PromptCount = Annotated[
    int,
    BeforeValidator(_count),
    Field(ge=1, le=10_000_000),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000_000}, {"type": "null"}]}),
]


class Strict(BaseModel):
    """Base of all sections: no unknown keys, no value of another type (true is no number), no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

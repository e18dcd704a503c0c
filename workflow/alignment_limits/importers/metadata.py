"""What the metadata of an imported table says, without the readers of formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alignment_limits.errors import ArtifactError
from alignment_limits.tables.artifacts import read_provenance


def verdict_of(file: Path) -> dict[str, Any] | None:
    """What the metadata of an imported table says about its law; None for other files."""
    try:
        made = read_provenance(file)
    except ArtifactError:
        return None
    found = made.get("import") or made.get("imported")
    if found is None:
        return None
    accepted = [finding["name"] for finding in found["findings"] if finding["severity"] == "accepted"]
    noted = [finding["name"] for finding in found["findings"] if finding["severity"] == "noted"]
    return {"format": found["format"], "one law": found["one_law"], "accepted": accepted, "noted": noted}

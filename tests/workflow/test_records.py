"""Every result carries the record of what made it, equal to Snakemake's own."""

import base64
import json
from pathlib import Path

from alignment_limits.jobs.records import record_of


def theirs(folder):
    """Snakemake's records by output."""
    for file in (folder / ".snakemake/metadata").rglob("*"):
        if file.is_file():
            name = "".join(part.removeprefix("@") for part in file.relative_to(folder / ".snakemake/metadata").parts)
            yield base64.urlsafe_b64decode(name).decode(), json.loads(file.read_text())


def test_a_result_carries_the_record_that_snakemake_has(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    known = dict(theirs(finished.folder))
    assert len(known) > 40
    for output, record in known.items():
        own = record_of(Path(output))
        assert own is not None, output
        assert {key: own[key] for key in ("rule", "params", "input")} == {
            key: record[key] for key in ("rule", "params", "input")
        }, output
        files = {f: c for f, c in own["input_checksums"].items() if c.startswith("sha256:")}
        assert files == record["input_checksums"], output

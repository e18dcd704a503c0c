"""The page on imported samples: whether they are a sample of one law, and what was found."""

from __future__ import annotations

import polars as pl

from alignment_limits.report.pages.page import Cell, render


def provenance_page(study: str, findings: pl.DataFrame, sources: pl.DataFrame) -> str:
    """HTML of the provenance verdict.

    Args:
        study: its name.
        findings: a row per finding (`importers.imported.FINDINGS`).
        sources: a row per file (`importers.imported.SOURCES`).
    """
    rows = {
        severity: [_row(finding) for finding in findings.filter(severity=severity).iter_rows(named=True)]
        for severity in ("accepted", "noted")
    }
    return render(
        "provenance.html",
        f"What drew the samples of {study}",
        format=sources["format"][0],
        accepted=rows["accepted"],
        noted=rows["noted"],
        files=[[file, digest[:16]] for file, digest, _ in sources.iter_rows()],
    )


def _row(finding: dict[str, object]) -> list[str | Cell]:
    """Name, count and what it does to a limit."""
    shown = finding["examples"]
    below = "; ".join(map(str, shown)) if isinstance(shown, list) else ""
    return [str(finding["name"]), Cell(str(finding["what"]), below), str(finding["effect"]), str(finding["remedy"])]

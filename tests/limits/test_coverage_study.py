"""The coverage study's own machinery: truths of its worlds, files kept, tables and figure written."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from alignment_limits.limits import WORLDS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list(WORLDS))
def test_every_estimate_nears_the_truth_it_is_held_against(name: str) -> None:
    """300 prompts x 512 samples, at the smallest KL or n: within 5 standard errors, or 3 %."""
    study = load("limits_coverage")
    for part in study.PARTS:
        table = study.cell(part, name, 300, 512, 1)
        for (row,), rows in table.group_by("row"):
            first = rows.row(0, named=True)
            error = (first["high"] - first["low"]) / 3.92
            assert abs(first["estimate"] - first["truth"]) < max(5 * error, 0.03 * abs(first["truth"])), row
            assert error < 0.1 * abs(first["truth"]), row


def test_files_are_kept_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, report = load("limits_coverage"), load("limits_coverage_report")
    wanted = ["--worlds", "3", "--sizes", "64x64", "--out", str(tmp_path / "kept")]
    monkeypatch.setattr(sys, "argv", ["limits_coverage.py", *wanted])
    study.main()
    kept = sorted((tmp_path / "kept").glob("*/*.parquet"))
    assert len(kept) == len(study.PARTS) * len(WORLDS)
    before = [path.stat().st_mtime_ns for path in kept]
    study.main()
    assert [path.stat().st_mtime_ns for path in kept] == before
    page = tmp_path / "page.md"
    page.write_text(f"above\n{report.MARKS[0]}\nstale\n{report.MARKS[1]}\nbelow\n")
    monkeypatch.setattr(report, "FEWEST", 1)
    paths = ["--read", str(tmp_path / "kept"), "--page", str(page), "--figure", str(tmp_path / "coverage.png")]
    paths += ["--mixtures", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", ["limits_coverage_report.py", *paths])
    report.main()
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "stale" not in text
    assert "| gaussian | limit | " in text
    assert (tmp_path / "coverage.png").stat().st_size > 10_000


def test_coverage_counts_studies_as_clusters() -> None:
    report = load("limits_coverage_report")
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.random(400) < 0.9, 5)  # five rows of a study stand or fall together
    table = pl.DataFrame({"study": np.repeat(np.arange(400), 5), "hit": hits, "reliable": True, "world": "gaussian"})
    row = report.coverage(table, "world").row(0, named=True)
    assert row["given"] == 2000
    assert row["refused"] == 0
    np.testing.assert_allclose(row["coverage"], hits.mean(), rtol=1e-12)
    np.testing.assert_allclose(row["error"], np.sqrt(hits.mean() * (1 - hits.mean()) / 400), rtol=1e-12)

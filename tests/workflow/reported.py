"""What a finished study left: its tables, its figures, and the report with a caption for each."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl

from alignment_limits.report.figures.entries import FIGURES
from alignment_limits.report.figures.table import figures_of
from alignment_limits.report.pages.table import PAGES as WRITTEN
from alignment_limits.report.pages.table import pages_of
from alignment_limits.study.load import load_study
from alignment_limits.study.study import stages
from alignment_limits.tables.estimates import made_for

ROOT = Path(__file__).parents[2]
# in a caption or page: a setting that is not there, an empty name, markup that was not understood
BROKEN = re.compile(r"\bNone\b|\bnan\b|snakemake\.config|\(\)|\*\*|``|\bof ,|Traceback|Undefined")

# what a section of the study file adds to the report
PAGES = {
    "scores": "headline",
    "samples": "headline",
    "model": "headline",
    "learning": "learning",
    "training": "policies",
    "documents": "gold",
    "enumerable": "exact",
    "preferences": "targets",
}
OF_PROXIES = {"proxy_gap.parquet", "over_optimisation.parquet"}


def captions_of(config: dict[str, Any]) -> set[str]:
    """The captions that the report of such a study may contain: those of its stages, and the front page."""
    study = load_study(config)
    rules = "".join((ROOT / f"workflow/rules/{stage}.smk").read_text("utf-8") for stage in stages(study))
    figures = {f"figure_{name}" for name in figures_of(study, made_for(study))}
    present = {"headline": not study.learning, "sample_page": bool(study.sampling or study.samples)}
    pages = set(re.findall(r'caption="\.\./report/(\w+)\.rst"', rules)) - {"caption"}
    figures |= {f"figure_{name}" for name in ("policies", "training_curves", "gap") if f'FIGURES["{name}"]' in rules}
    return {"workflow", *figures, *pages_of(study), *(page for page in pages if present.get(page, True))}


def source_of(caption: str) -> str:
    """A caption as it is written, without the names of a study."""
    if caption.startswith("figure_"):
        return FIGURES[caption.removeprefix("figure_")].description
    if caption in WRITTEN:
        return WRITTEN[caption].description
    return (ROOT / f"workflow/report/{caption}.rst").read_text("utf-8")


def entries(report: Path) -> dict[str, str]:
    """Each file that a report shows → its caption without markup."""
    page = report.read_text("utf-8")
    start = re.search(r'<script id="results">\s*var results = ', page)
    assert start, "a report lists what it shows"
    found, _ = json.JSONDecoder().raw_decode(page, start.end())
    return {file: text_of(entry["caption"]) for file, entry in found.items()}


def text_of(html: str) -> str:
    """A page's text as it is read."""
    without = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", "", html, flags=re.S)
    return " ".join(unescape(without).split())


def check(folder: Path, name: str, report: Path, config: dict[str, Any]) -> None:
    """Tables have rows; figures and pages are there, each in the report with a caption that says what it is.

    Args:
        folder: the project's; `results/<name>` lies in it.
        config: all settings of the study.
    """
    results = folder / "results" / name
    tables = [f for f in results.rglob("*.parquet") if not f.is_symlink()]
    assert tables
    empty = {f.name for f in tables if not pl.scan_parquet(f).select(pl.len()).collect().item()}
    # no study here has clusters of prompts, and one has no proxies
    nothing = {"clusters.parquet"} | (set() if load_study(config).proxies else OF_PROXIES)
    # whether scores are 0/1, or have lengths alongside, is known only when they are read
    may_be = {"verifiable.parquet", "length_control.parquet"} if config.get("scores") else set()
    may_be |= {"side_effects.parquet"} if config.get("scores") and nothing >= OF_PROXIES else set()  # of gold alone
    assert empty - may_be == nothing & {f.name for f in tables}, f"without rows: {sorted(empty)}"
    figures, pages = sorted(results.glob("figures/*.png")), sorted(results.glob("report/*.html"))
    for figure in figures:
        assert figure.read_bytes()[:4] == b"\x89PNG"
        assert figure.with_suffix(".pdf").stat().st_size > 5000, figure.name
    for page in pages:
        assert not BROKEN.search(text_of(page.read_text("utf-8"))), page.name
    shown = entries(report)
    assert sorted(shown) == sorted(str(f.relative_to(folder)) for f in (*figures, *pages))
    assert {file: found[0] for file, text in shown.items() if (found := BROKEN.search(text))} == {}
    assert {PAGES[section] for section in PAGES if config.get(section)} <= {page.stem for page in pages}
    gold, titles = config.get("gold") or config.get("scores", {}).get("gold"), {}
    for caption in captions_of(config) - {"workflow"}:
        source = source_of(caption)
        title = re.search(r"\*\*(.+?)[*{`]", source.replace("\n", " "))
        assert title, caption
        titles[title[1].strip()] = bool(re.search(r"{ ?gold ?}", source))
    for file, text in shown.items():
        (names_gold,) = (names for title, names in titles.items() if text.startswith(title))
        assert not names_gold or gold in text, file

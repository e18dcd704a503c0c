"""What code, captions, templates and pages cite is there: headings of pages, and papers spelled out."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("workflow", "config", "docs", "benchmarks")
SUFFIXES = {".py", ".rst", ".html", ".md", ".yaml", ".smk"}
FILES = sorted(
    {
        *(f for folder in FOLDERS for f in (ROOT / folder).rglob("*") if f.suffix in SUFFIXES),
        *ROOT.glob("*.md"),
    }
)
PAPERS = {
    "[L]": "Theoretical Limits of Language Model Alignment",
    "[B]": "Beyond RLHF: A Unified Theoretical Framework of Alignment",
}
CITED = re.compile(r'docs/([\w/-]+)\.md((?:(?:,| and) "[^"]+")+)')


def flowing(text):
    """Text without line breaks, comment signs and marks of emphasis."""
    return re.sub(r"\s+", " ", re.sub(r"\n\s*#+ ", "\n", text).replace("*", ""))


def citations(text):
    """Pages and headings that a text cites as `docs/page.md, "Heading"`."""
    return [(page, heading) for page, said in CITED.findall(flowing(text)) for heading in re.findall('"([^"]+)"', said)]


def headings(page):
    """The headings of a page of docs/, without their marks; those in blocks of code are none."""
    text = re.sub(r"```.*?```", "", (ROOT / f"docs/{page}.md").read_text("utf-8"), flags=re.DOTALL)
    return {re.sub(r"[`*]", "", line) for line in re.findall(r"(?m)^#+ +(.+?) *$", text)}


def unresolved(text):
    """Citations of a text whose page or heading is not there."""
    return [(p, h) for p, h in citations(text) if not (ROOT / f"docs/{p}.md").is_file() or h not in headings(p)]


def unexplained(text):
    """Letters of papers that a text uses without the paper's title close to the first use."""
    said = flowing(text)
    return [
        letter
        for letter, title in PAPERS.items()
        if letter in said and title not in said[max(0, said.index(letter) - 300) : said.index(letter) + 300]
    ]


def test_every_heading_that_is_cited_is_there():
    broken = {str(f.relative_to(ROOT)): found for f in FILES if (found := unresolved(f.read_text("utf-8")))}
    assert broken == {}


def test_letters_of_papers_are_spelled_out():
    letters = {str(f.relative_to(ROOT)): found for f in FILES if (found := unexplained(f.read_text("utf-8")))}
    assert letters == {}


def test_the_library_cites_the_theory():
    found = {h for f in FILES if f.suffix == ".py" for page, h in citations(f.read_text("utf-8")) if page == "theory"}
    assert {"The tilt", "Best-of-n", "A proxy in place of gold", "Ensembles", "Three ways to learn it"} <= found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('see docs/theory.md, "The tilt".', []),
        ('see docs/theory.md,\n    # "The tilt" and so on', []),
        ('docs/theory.md, "The tilt" and "No such heading"', [("theory", "No such heading")]),
        ('docs/nowhere.md, "The tilt"', [("nowhere", "The tilt")]),
    ],
)
def test_a_citation_that_leads_nowhere_is_found(text, found):
    assert unresolved(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a claim of [L].", ["[L]"]),
        ('a claim of [L].\n\n[L] is "Theoretical Limits of\nLanguage Model Alignment".', []),
        ("# of [B], *Beyond RLHF: A Unified\n# Theoretical Framework of Alignment*", []),
    ],
)
def test_a_letter_without_its_paper_is_found(text, found):
    assert unexplained(text) == found

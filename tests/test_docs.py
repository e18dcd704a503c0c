"""References between pages, and from code to pages, lead somewhere; the site has all pages and all public functions."""

import re
from pathlib import Path

import pytest

from alignment_limits import limits, tradeoffs
from alignment_limits.limits import streaming
from alignment_limits.report.figures.entries import FIGURES
from alignment_limits.tables import estimates
from alignment_limits.tables import tradeoffs as tradeoff_tables

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")]
PAGES += sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)", re.M)
MENTION = re.compile(r"\bdocs/[\w/-]+\.(?:md|png)(?:#[\w-]+)?")


def slug(heading: str) -> str:
    """The anchor that GitHub and the site give to a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


def prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), re.M)}


def broken(target: str, folder: Path) -> str:
    """What is missing of a link's target; "" where nothing is."""
    name, _, anchor = target.partition("#")
    file = folder / name if name else None
    if file and not file.exists():
        return f"no file {target}"
    if anchor and file and file.suffix == ".md" and anchor not in anchors(file):
        return f"no anchor {target}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page):
    found = ["".join(groups) for groups in LINK.findall(prose(page))]
    local = [f"{page.name}{target}" if target.startswith("#") else target for target in found]
    wrong = [broken(target, page.parent) for target in local if not re.match(r"[a-z]+:", target)]
    assert [text for text in wrong if text] == []


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "page.md").write_text("# One `two`: three\n", "utf-8")
    assert broken("page.md#one-two-three", tmp_path) == ""
    assert broken("page.md#one", tmp_path) == "no anchor page.md#one"
    assert broken("other.md", tmp_path) == "no file other.md"


def test_every_page_that_is_named_anywhere_exists():
    kinds = {".py", ".rst", ".html", ".yaml", ".smk", ".sh", ".json", ".md", ".in", ""}
    folders = ("workflow", "config", "benchmarks", "envs", "docs", "profiles", "resources")
    files = [file for file in ROOT.iterdir() if file.is_file()]
    files += [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    wrong = []
    for file in files:
        if file.suffix in kinds:
            named = (broken(mention, ROOT) for mention in MENTION.findall(file.read_text("utf-8")))
            wrong += [f"{file.relative_to(ROOT)}: {problem}" for problem in named if problem]
    assert wrong == []


def test_the_section_that_each_figures_caption_names_is_there():
    for name, figure in FIGURES.items():
        assert slug(figure.section) in anchors(DOCS / figure.page), name


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2].partition("\n\n")[0]
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert pages <= set(re.findall(r"[\w/-]+\.md", navigation))


@pytest.mark.parametrize(("page", "package"), [("limits", limits), ("streaming", streaming), ("tradeoffs", tradeoffs)])
def test_every_public_name_is_on_a_page_of_the_api(page, package):
    text = (DOCS / f"api/{page}.md").read_text("utf-8")
    assert [name for name in package.__all__ if not re.search(rf"\b{name}\b", text)] == []


def rows(section: str) -> list[list[str]]:
    """The cells of a section's tables, their heads left out."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_reasons_that_are_explained_are_those_that_the_estimators_give():
    text = prose(DOCS / "results.md").partition("\n## Not reliable\n")[2].partition("\n## ")[0]
    code = "".join(file.read_text("utf-8") for file in (ROOT / "workflow/alignment_limits/limits").glob("*.py"))
    said = [part.strip() for cells in rows(text)[1:] for part in re.split(r"…|, ", cells[0])]
    assert len(said) > 10
    assert [part for part in said if part not in code] == []


def test_columns_that_are_explained_are_those_of_the_tables():
    text = prose(DOCS / "results.md").partition("\n## Tables\n")[2]
    blocks = text.split("\n**`limits/")[1:]
    assert len(blocks) == 5
    for block in blocks:
        names = re.findall(r"(?:limits/)?(\w+)\.parquet", block.partition("\n\n")[0])
        known = set().union(*(getattr(estimates, name.upper()).columns for name in names))
        named = {name for cells in rows(block)[1:] for name in re.findall(r"`(\w+)`", cells[0])}
        assert named, names
        assert named <= known, names


def test_columns_that_are_explained_are_those_of_the_tables_of_tradeoffs():
    blocks = prose(DOCS / "tradeoffs.md").split("\n**`tradeoffs/")[1:]
    checked = [block for block in blocks if not block.startswith("columns.")]
    assert checked
    for block in checked:
        names = re.findall(r"(?:tradeoffs/)?(\w+)\.parquet", block.partition("\n\n")[0])
        known = set().union(*(getattr(tradeoff_tables, name.upper()).columns for name in names))
        table = block.partition("\n## ")[0]
        named = {name for cells in rows(table)[1:] for name in re.findall(r"`(\w+)`", cells[0])}
        assert named, names
        assert named <= known, names

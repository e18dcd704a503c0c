"""What README and docs tell a reader to type: the blocks of code, and the commands within sentences.

What CI does not run says so: `<!-- not run in CI: why -->` on a page's third line, on the line above a block, or on the
line of a sentence's command; within a block, a comment with these words.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = "not run in CI"
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)
_SPAN = re.compile(r"`((?:\w+=\S+ )*(?:make|(?:\.venv/bin/)?(?:snakemake|python)) [^`]+)`")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    out = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in _BLOCK.finditer(text):
            indent, language, body = found.groups()
            above = text[: found.start()].rstrip("\n").rpartition("\n")[2]
            runs = _runs(text) and NOT_RUN not in above
            body = re.sub(f"^{indent}", "", body, flags=re.M)
            name = page.relative_to(ROOT).as_posix()
            out.append(Block(name, text.count("\n", 0, found.start()) + 1, language, body, runs))
    return out


def commands() -> dict[str, list[str]]:
    """Each command that CI runs, and where it stands."""
    out: dict[str, list[str]] = {}
    for block in blocks():
        if block.language in ("sh", "bash") and block.runs:
            for line in block.text.splitlines():
                if NOT_RUN not in line and (command := re.split(r"(?:^|\s+)# ", line)[0].strip()):
                    out.setdefault(command, []).append(str(block))
    for page in PAGES:
        text = page.read_text("utf-8")
        for i, line in enumerate(text.splitlines(), 1):
            for command in _SPAN.findall(line) if _runs(text) and NOT_RUN not in line else ():
                out.setdefault(command, []).append(f"{page.relative_to(ROOT).as_posix()}:{i}")
    return out


def _runs(page: str) -> bool:
    return NOT_RUN not in (page.splitlines()[2:3] or [""])[0]

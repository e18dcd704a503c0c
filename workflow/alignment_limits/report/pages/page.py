"""Pages from templates: self-contained HTML, inline style, no script, no outside file; every text is escaped.

Snakemake's own report writes params, captions and results into the page as JSON inside script elements, as they are: a
`</script>` in a reward's description would end the element, and what follows would run. `escape_report` has it write
JSON with its angle brackets and ampersands as escapes, so that it contains no markup.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alignment_limits.files import atomic

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
REPORTER = "snakemake.report.html_reporter"
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def dumps(value: Any, **options: Any) -> str:
    """JSON without `<`, `>` and `&`, which occur within its strings only."""
    return json.dumps(value, **options).translate(_ESCAPES)


def escape_report() -> None:
    """Have Snakemake's reporter, where it is loaded, write its JSON by `dumps`."""
    for name, module in list(sys.modules.items()):
        if name.startswith(REPORTER) and hasattr(module, "json"):
            vars(module)["json"] = SimpleNamespace(dumps=dumps, loads=json.loads)


@dataclass(frozen=True)
class Cell:
    """A table cell: a text, and a smaller one under it."""

    text: str
    below: str = ""


def render(template: str, title: str, **values: Any) -> str:
    """A complete document.

    Args:
        template: its file's name.
        title: of the page.
        values: what the template is about: texts, rows of texts and cells.
    """
    return TEMPLATES.get_template(template).render(title=title, **values) + "\n"


def write_page(document: str, path: str | Path) -> None:
    """Write a page as UTF-8, complete or not at all.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(document, "utf-8", errors="replace")  # a model may emit lone surrogates

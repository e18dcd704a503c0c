"""A self-contained HTML page: inline style, no script, no outside file; every text is escaped.

Snakemake's own report writes params, captions and results into the page as JSON inside script elements, as they are: a
`</script>` in a reward's description would end the element, and what follows would run. `escape_report` has it write
JSON with its angle brackets and ampersands as escapes, which says the same and holds no markup.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from alignment_limits.files import atomic

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


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #666; --line: #d5d5d5;
  --ground: #fff; --tint: #f5f5f5 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #a0a0a0; --line: #444; --ground: #1b1b1b; --tint: #262626 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .3rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p { margin: .5rem 0 } small, .soft { color: var(--soft); font-size: .85rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line) }
th { font-weight: 600; border-bottom-color: var(--soft) } td small { display: block }
.claim { border-left: 3px solid var(--line); padding: .1rem 0 .1rem .9rem; margin: 1rem 0 }
.claim h3 { margin-top: 0 } .claim.holds { border-color: #0072b2 } .claim.partly { border-color: #e69f00 }
.claim.fails { border-color: #d55e00 }
.verdict { font-weight: 600; white-space: nowrap }
pre { background: var(--tint); padding: .8rem; overflow-x: auto; font-size: .82rem; line-height: 1.4 }
blockquote { margin: .4rem 0; padding: .4rem .8rem; background: var(--tint); white-space: pre-wrap;
  overflow-wrap: anywhere }
details { border: 1px solid var(--line); padding: .6rem .9rem; margin: 1rem 0 }
summary { cursor: pointer; font-weight: 600 }
@media print {
  :root { --ink: #000; --ground: #fff; --tint: #fff; --soft: #444 }
  body { margin: 0; max-width: none; font-size: 10pt }
  .claim, tr, blockquote { break-inside: avoid } pre { white-space: pre-wrap } }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Cell:
    """A table cell: a text, and a smaller one under it."""

    text: str
    below: str = ""


def page(title: str, body: Iterable[str], lead: str = "") -> str:
    """A whole document; `body` is markup made by this module, `title` and `lead` are plain text."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Nothing may run or be fetched, whatever a generated text contains.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"{tag('title', title)}\n<style>{_STYLE}</style>\n</head>\n<body>",
            tag("h1", title),
            *([tag("p", lead, "soft")] if lead else []),
            *body,
            "</body>\n</html>\n",
        ]
    )


def write_page(document: str, path: str | Path) -> None:
    """Write a page as UTF-8, complete or not at all.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(document, "utf-8", errors="replace")  # a model may emit lone surrogates


def tag(name: str, text: str, css: str = "") -> str:
    """An element holding plain text."""
    return f"<{name}{_css(css)}>{html.escape(text)}</{name}>"


def box(name: str, children: Iterable[str], css: str = "") -> str:
    """An element holding markup made by this module's functions."""
    return f"<{name}{_css(css)}>\n" + "\n".join(children) + f"\n</{name}>"


def table(head: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> str:
    """A table of plain texts and cells."""
    lines = ["<tr>" + "".join(tag("th", h) for h in head) + "</tr>"]
    lines += ["<tr>" + "".join(_cell(c) for c in row) + "</tr>" for row in rows]
    return box("div", [box("table", lines)], "wide")


def pairs(values: Mapping[str, str]) -> str:
    """A two-column table without a head."""
    lines = [f"<tr>{tag('td', k)}{tag('td', v)}</tr>" for k, v in values.items()]
    return box("div", [box("table", lines)], "wide")


def bullets(texts: Iterable[str]) -> str:
    """A list of plain texts."""
    return box("ul", [tag("li", t) for t in texts])


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return tag("td", cell)
    return f"<td>{html.escape(cell.text)}{tag('small', cell.below) if cell.below else ''}</td>"


def _css(name: str) -> str:
    return f' class="{html.escape(name, quote=True)}"' if name else ""

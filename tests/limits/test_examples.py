"""The examples in docstrings run, and every public function of the estimators and of the exact parts has one."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest

from alignment_limits import limits, tradeoffs
from alignment_limits.limits import streaming

LIBRARY = Path(__file__).parents[2] / "workflow/alignment_limits"
FOLDERS = ("limits", "limits/streaming", "ensembles", "preferences", "exact", "policies", "importers", "tradeoffs")
TORCH = {"assemble", "kl", "replies", "training", "world"}  # of policies/ and exact/: they import torch
MODULES = sorted(file for folder in FOLDERS for file in (LIBRARY / folder).glob("[a-z]*.py"))
PUBLIC = {name: getattr(package, name) for package in (limits, streaming, tradeoffs) for name in package.__all__}
VALUES = {"AGGREGATORS", "WORLDS"}
# their attributes are explained; functions that make or take them have examples
RESULTS = {
    "BestOfNTable",
    "ClosedTable",
    "CompromiseTable",
    "CostTable",
    "DivergenceTable",
    "FrontTable",
    "LabelNoiseTable",
    "FrontierSums",
    "FrontierTable",
    "LabelTable",
    "LengthControlTable",
    "Level",
    "Picks",
    "Plan",
    "ProxyGapTable",
    "ShortfallTable",
    "SideEffectsTable",
    "TemperedTable",
    "Tempering",
    "VerifiableTable",
}
WORKED = {  # modules that are a library of their own: all functions have an example, but those of the study's tables
    "preferences/fits": set(),
    "preferences/learners": set(),
    "preferences/objectives": set(),
    "preferences/pairs": set(),
    "preferences/rates": {"sweep", "choose", "summary", "slopes"},
    "ensembles/scales": set(),
    "exact/laws": set(),
}


def name_of(file):
    return ".".join(("alignment_limits", *file.relative_to(LIBRARY).with_suffix("").parts))


@pytest.mark.parametrize("file", MODULES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_examples_give_what_they_say(file):
    if file.stem in TORCH:
        pytest.importorskip("torch")
    module = importlib.import_module(name_of(file))
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS, extraglobs={"np": np})
    assert not failed


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - VALUES))
def test_every_public_name_says_what_it_takes_and_gives(name):
    said = inspect.getdoc(PUBLIC[name])
    sections = {"Attributes:"} if name in RESULTS else {"Args:", "Example:"}
    if inspect.isfunction(PUBLIC[name]):
        sections |= {"Returns:"}
    assert {section for section in sections if f"\n{section}\n" not in said} == set()
    assert ">>>" in said or name in RESULTS


@pytest.mark.parametrize("module", WORKED)
def test_every_function_has_an_example(module):
    tree = ast.parse((LIBRARY / f"{module}.py").read_text("utf-8"))
    functions = {n.name: ast.get_docstring(n) or "" for n in tree.body if isinstance(n, ast.FunctionDef)}
    without = {name for name, said in functions.items() if name[0] != "_" and "\nExample:\n" not in said}
    assert without == WORKED[module]


def test_one_dialect():
    """Google's sections, nowhere `name : meaning` in their place; a class of values lists them under Attributes."""
    other = []
    for file in (f for folder in FOLDERS for f in (LIBRARY / folder).glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            said = ast.get_docstring(node) or ""
            fields = isinstance(node, ast.ClassDef) and any(isinstance(n, ast.AnnAssign) for n in node.body)
            if " : " in said or "Raises EstimateError" in said or (fields and "\nAttributes:\n" not in said):
                other.append(f"{file.stem}.{node.name}")
    assert other == []

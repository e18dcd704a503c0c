"""The examples in docstrings run, and every public function of the estimators has one."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

from alignment_limits import limits

LIBRARY = Path(__file__).parents[2] / "workflow/alignment_limits"
FOLDERS = ("limits", "limits/streaming", "ensembles")
MODULES = sorted(file for folder in FOLDERS for file in (LIBRARY / folder).glob("[a-z]*.py"))
VALUES = {"AGGREGATORS", "WORLDS"}
RESULTS = {"BestOfNTable", "FrontierTable", "Plan", "ProxyGapTable"}  # made by functions that have examples


@pytest.mark.parametrize("file", MODULES, ids=lambda f: f.stem)
def test_examples_give_what_they_say(file):
    name = ".".join(("alignment_limits", *file.relative_to(LIBRARY).with_suffix("").parts))
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not failed


@pytest.mark.parametrize("name", sorted(set(limits.__all__) - VALUES))
def test_every_public_name_says_what_it_takes_and_gives(name):
    said = inspect.getdoc(getattr(limits, name))
    sections = {"Attributes:"} if name in RESULTS else {"Args:", "Example:"}
    if inspect.isfunction(getattr(limits, name)):
        sections |= {"Returns:"}
    assert {section for section in sections if f"\n{section}\n" not in said} == set()
    assert ">>>" in said or name in RESULTS

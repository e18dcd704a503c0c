"""One table of figures: every entry names a function, its arguments and contracts that exist."""

import inspect
from importlib import import_module

import pytest

from alignment_limits.report.figures.entries import FIGURES


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_called_with_the_arguments_it_takes(name):
    entry = FIGURES[name]
    function = getattr(import_module(entry.module), entry.draw.partition(":")[2])
    taken = inspect.signature(function).parameters
    given = {*entry.tables, *entry.exact, *entry.settings, "look"}
    needed = {n for n, p in taken.items() if p.default is inspect.Parameter.empty}
    assert needed <= given <= taken.keys()


@pytest.mark.parametrize("name", FIGURES)
def test_its_tables_have_contracts(name):
    for _, contract in {**FIGURES[name].tables, **FIGURES[name].exact}.values():
        module, _, schema = contract.partition(":")
        assert getattr(import_module(f"alignment_limits.tables.{module}"), schema).columns

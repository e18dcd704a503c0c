"""The package loads lazily, stays light, and no public name hides a module."""

import subprocess
import sys
from pathlib import Path

import pytest

from alignment_limits import limits


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_one_name_loads_its_modules_only() -> None:
    loaded = loaded_by("from alignment_limits.limits import standardise")
    assert "alignment_limits.limits.standardisation" in loaded
    assert not {"alignment_limits.limits.curve", "alignment_limits.limits.bestofn"} & loaded


def test_estimators_load_nothing_heavy() -> None:
    loaded = loaded_by("from alignment_limits.limits import *")
    assert not {"torch", "vllm", "polars", "pandas", "snakemake", "transformers", "matplotlib"} & loaded


def test_every_public_name_resolves_and_none_is_a_module() -> None:
    modules = {path.stem for path in Path(limits.__file__).parent.glob("*.py")}
    for name in limits.__all__:
        assert getattr(limits, name) is not None
        assert name not in modules
    with pytest.raises(AttributeError, match="no attribute 'frontiere'"):
        _ = limits.frontiere

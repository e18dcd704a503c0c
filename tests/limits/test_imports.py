"""The package is eager, and stays light."""

import subprocess
import sys

from alignment_limits import limits
from alignment_limits.limits import streaming


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_estimators_load_nothing_heavy() -> None:
    loaded = loaded_by("from alignment_limits.limits import *; from alignment_limits.limits.streaming import *")
    assert "alignment_limits.limits.frontier" in loaded
    heavy = {"torch", "vllm", "polars", "pandas", "snakemake", "transformers", "matplotlib", "numba", "sklearn"}
    assert not heavy & loaded


def test_what_scoring_and_training_share_with_the_estimators_loads_none() -> None:
    loaded = loaded_by("import alignment_limits.ensembles.scales")
    assert not [name for name in loaded if name.startswith("alignment_limits.limits")]


def test_every_public_name_is_an_estimator_s_own() -> None:
    """None is a module: `limits.frontier` is the function, whichever module was imported first."""
    import alignment_limits.limits.frontier  # noqa: F401

    for package in (limits, streaming):
        for name in package.__all__:
            assert type(getattr(package, name)).__name__ != "module", name

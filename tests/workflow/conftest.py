"""The small study, run once with real models; the tests read what it left."""

import pytest
from running import ROOT, snakemake


@pytest.fixture(scope="session")
def small():
    """Folder of the finished small study."""
    snakemake("--configfile", "config/studies/small.yaml")
    return ROOT / "results/small"

"""The small study, run once with real models; the tests read what it left."""

import pytest
from project import Project
from running import ROOT, snakemake


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Where torch's compiler leaves what the small study had it compile."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def small(compiled):
    """Folder of the finished small study. What loads models is made by the processes that a user's run has."""
    study = ("--configfile", "config/studies/small.yaml")
    target = "results/small/ensembles/standardised.parquet"
    snakemake(target, *study, anew=True, TORCHINDUCTOR_CACHE_DIR=str(compiled))
    snakemake(*study)
    return ROOT / "results/small"


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_model):
    """A finished study of seconds in a project of its own; tests leave it as it is, or work on a copy."""
    project = Project.new(tmp_path_factory.mktemp("tiny") / "project", tiny_model)
    project.run()
    return project

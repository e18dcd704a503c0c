"""A finished study that grows by two shards: run undisturbed once, and in each test with something going wrong."""

import pytest
from faulty import GROWN, TABLES, Faulty


@pytest.fixture(scope="session")
def before(tmp_path_factory, tiny_model):
    """The study before it grows."""
    project = Faulty.new(tmp_path_factory.mktemp("faults") / "project", tiny_model)
    project.prepare()
    project.run(*TABLES)
    return project


@pytest.fixture(scope="session")
def undisturbed(before, tmp_path_factory):
    """All tables of the grown study, and the rules that made them."""
    project = before.copy(tmp_path_factory.mktemp("undisturbed") / "project")
    project.study(GROWN)
    project.run(*TABLES)
    return project.tables()


@pytest.fixture
def study(before, undisturbed, tmp_path):
    """The study about to grow, to be disturbed."""
    project = before.copy(tmp_path / "project")
    project.study(GROWN)
    project.expected = undisturbed
    return project

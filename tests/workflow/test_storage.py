"""A study whose results are in storage, as on Kubernetes or in a cloud: no job shares a file system with another."""

import os
import shutil
import subprocess

import polars as pl
import pytest
from project import Project

TABLES = ["ensembles/standardised.parquet", "limits/frontier.parquet", "limits/best_of_n.parquet"]


@pytest.fixture(scope="module", autouse=True)
def rsync():
    """The program by which Snakemake's plug-in for folders copies; CI installs it."""
    if shutil.which("rsync"):
        return
    if os.environ.get("ALL_TESTS") != "must-run":
        pytest.skip("not installed: apt-get install rsync")
    install = "apt-get update -qq && apt-get install -yqq --no-install-recommends rsync"
    subprocess.run(["flock", "/tmp/one-apt.lock", "sh", "-c", install], check=True, capture_output=True)


@pytest.fixture(scope="module")
def stored(finished, tmp_path_factory):
    """A project without results, and its storage after a run."""
    folder = tmp_path_factory.mktemp("storage")
    project = Project(folder / "project")
    shutil.copytree(finished.folder, project.folder, ignore=shutil.ignore_patterns("results", ".snakemake"))
    options = ["--default-storage-provider", "fs", "--default-storage-prefix", folder / "store"]
    options += ["--local-storage-prefix", folder / "here", "--shared-fs-usage", "none"]
    project.run("frontier", "best_of_n", *options)
    return project, folder / "store", options


def test_a_study_in_storage_has_the_numbers_of_one_in_a_folder(finished, stored):
    project, store, _ = stored
    assert not (project.folder / "results").exists()
    for table in TABLES:
        own, other = (pl.read_parquet(folder / "results/tiny" / table) for folder in (store, finished.folder))
        assert own.equals(other), table


def test_storage_holds_no_links_and_no_second_run_is_needed(stored):
    project, store, options = stored
    assert not [path for path in store.rglob("*") if path.is_symlink()]
    assert "Nothing to be done" in project.run("--dry-run", "frontier", "best_of_n", *options)


def test_a_whole_study_in_storage_asks_for_no_links(stored):
    project, _, options = stored
    jobs = project.plan(*options).jobs
    assert {"manifest", "frontier", "link_shards"} & {*jobs} == {"manifest"}

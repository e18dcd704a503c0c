"""A real Slurm of one node for tests marked `slurm`, and a tiny study to run through it."""

import fcntl
import os
import subprocess

import pytest
from cluster import NODE, TABLES, SlurmProject


@pytest.fixture(scope="session")
def slurm():
    """A running Slurm, stopped afterwards; skipped where none can be started, unless ALL_TESTS=must-run."""
    with open("/tmp/one-node-slurm.lock", "w") as lock:  # there is one place for its settings: one at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            up = subprocess.run(["bash", NODE, "up"], capture_output=True, text=True, check=False)
            if up.returncode:
                reason = f"no Slurm could be started: {up.stderr.strip()[-2000:] or up.stdout[-2000:]}"
                pytest.fail(reason) if os.environ.get("ALL_TESTS") == "must-run" else pytest.skip(reason)
            yield
        finally:
            subprocess.run(["bash", NODE, "down"], capture_output=True, check=False)


@pytest.fixture(scope="session")
def local(slurm, tmp_path_factory, tiny_model):
    """The tables of the tiny study, made without Slurm."""
    project = SlurmProject.new(tmp_path_factory.mktemp("slurm") / "local", tiny_model)
    project.run("preflights", *TABLES)
    return project
